"""A blob on its way here: it goes on where it was cut, and proves itself before it ends."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import httpx

from oci_wire.client.attempts import Retry
from oci_wire.client.credentials import Origin
from oci_wire.client.long_bodies import fits_a_thread, taken, told_length
from oci_wire.client.transport import Ask, faults, raw
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import RangeInvalid, Unavailable, Unreachable, Unsupported
from oci_wire.registry import BlobStream, ByteRange, Call, Chunks
from oci_wire.streams import Run, Sink
from oci_wire.verify import verified

T = TypeVar("T")
MAX_CUTS = 5  # in a row, without progress between them
PROGRESS = 1024 * 1024  # bytes after which the cuts are counted anew
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Source(Protocol):
    """Whom a blob is had of; ``open`` gives a response that the caller closes, or raises what its status means."""

    @property
    def home(self) -> Origin: ...

    @property
    def retry(self) -> Retry: ...

    async def open(self, call: Call, ask: Ask) -> httpx.Response: ...


@dataclass(frozen=True, slots=True)
class _Part:
    """An open response: its first byte in the blob (that is 0 when the server ignores ranges), and the blob's size."""

    response: httpx.Response
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Blob:
    """``ask`` is the request for the whole of it."""

    transport: Source
    call: Call
    ask: Ask
    digest: Digest

    async def open(self, span: ByteRange | None, *, verify: bool = True) -> BlobStream:
        """Raises BlobUnknown, RangeInvalid, and whatever the transport raises."""
        wanted = span or ByteRange()
        part = await self._part(_range_header(wanted))
        try:
            start, stop = wanted.within(part.size)
            if part.start not in (0, start):
                raise Unavailable(f"{self.transport.home} sent the bytes from {part.start} on, not from {start}")
        except BaseException:
            await part.response.aclose()
            raise
        chunks: Chunks = _Coming(self, part, start, stop)
        if verify and (start, stop) == (0, part.size):
            chunks = verified(chunks, self.digest, part.size)
        return BlobStream(Descriptor(OCTET_STREAM, self.digest, part.size), start, stop, chunks)

    async def _part(self, range_header: str) -> _Part:
        headers = {**self.ask.headers, "Range": range_header} if range_header else self.ask.headers
        ask = replace(self.ask, headers=headers)
        response = await self.transport.retry(lambda: self.transport.open(self.call, ask))
        try:
            return _read_head(response)
        except BaseException:
            await response.aclose()
            raise

    def chunks(self, part: _Part, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from start to stop."""
        return self._resumed(part, start, stop, self._from, len)

    def taken(self, part: _Part, start: int, stop: int, sink: Sink, run: Run) -> AsyncGenerator[int, None]:
        """The same, given to ``sink`` on a thread: how many each time."""
        return self._resumed(part, start, stop, partial(self._taken_from, sink, run), int)

    async def _resumed(
        self,
        part: _Part,
        start: int,
        stop: int,
        open_from: Callable[[_Part, int, int], AsyncGenerator[T, None]],
        size: Callable[[T], int],
    ) -> AsyncGenerator[T, None]:
        """What ``open_from`` gives, over as many responses as it takes."""
        at, cuts, last_cut = start, 0, start
        while True:
            try:
                async with aclosing(open_from(part, at, stop)) as items:
                    async for item in items:
                        at += size(item)
                        yield item
                if at >= stop:
                    return
                raise Unreachable(f"{self.transport.home} ended {self.digest} after {at} of {stop} bytes")
            except Unreachable:
                cuts = 1 if at - last_cut >= PROGRESS else cuts + 1
                last_cut = at
                if cuts > MAX_CUTS:
                    raise
            part = await self._again(part.size, at)

    async def _from(self, part: _Part, at: int, stop: int) -> AsyncGenerator[bytes, None]:
        """What this response has of the bytes from ``at`` to ``stop``; it is closed in the end."""
        skip, left = at - part.start, stop - at
        last = skip + left >= told_length(part.response)  # then its end is read too: the connection can be used again
        try:
            with faults(self.transport.home):
                async for received in raw(part.response):
                    self.call.remaining()
                    chunk = received[skip : skip + left]
                    skip = max(0, skip - len(received))
                    left -= len(chunk)
                    if chunk:
                        yield chunk
                    if left <= 0 and not last:
                        return
        finally:
            await part.response.aclose()

    async def _taken_from(self, sink: Sink, run: Run, part: _Part, at: int, stop: int) -> AsyncGenerator[int, None]:
        if at != part.start or not fits_a_thread(part.response):
            async with aclosing(self._from(part, at, stop)) as chunks:
                async for chunk in chunks:
                    await run(partial(sink, memoryview(chunk)))
                    yield len(chunk)
            return
        try:
            with faults(self.transport.home):
                async with aclosing(taken(part.response, stop - at, sink, run)) as counts:
                    async for count in counts:
                        self.call.remaining()
                        yield count
        finally:
            await part.response.aclose()

    async def _again(self, size: int, at: int) -> _Part:
        part = await self._part(f"bytes={at}-")
        if part.size != size or part.start not in (0, at):
            await part.response.aclose()
            raise Unavailable(f"{self.transport.home} went on with {self.digest} at another place or size")
        return part


class _Coming(AsyncIterator[bytes]):
    """The bytes of one stream. Satisfies ``ForThreads``."""

    def __init__(self, blob: Blob, part: _Part, start: int, stop: int) -> None:
        self._blob, self._asked = blob, (part, start, stop)
        self._begun: AsyncGenerator[Any, None] | None = None

    async def __anext__(self) -> bytes:
        if self._begun is None:
            self._begun = self._blob.chunks(*self._asked)
        chunk: bytes = await anext(self._begun)
        return chunk

    @property
    def bulky(self) -> bool:
        part, start, _ = self._asked
        return part.start == start and fits_a_thread(part.response)

    def taken(self, sink: Sink, run: Run) -> AsyncGenerator[int, None]:
        counts = self._begun = self._blob.taken(*self._asked, sink, run)
        return counts

    async def aclose(self) -> None:
        if self._begun is not None:
            await self._begun.aclose()
        await self._asked[0].response.aclose()


def _range_header(span: ByteRange) -> str:
    if span.start < 0:
        return f"bytes={span.start}"
    if span.stop is not None and span.stop <= span.start:
        raise RangeInvalid(f"bytes {span.start} to {span.stop} run backwards")
    if span.stop is not None:
        return f"bytes={span.start}-{span.stop - 1}"
    return f"bytes={span.start}-" if span.start else ""


def _read_head(response: httpx.Response) -> _Part:
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise Unsupported("the registry compresses blobs, although asked not to")
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if found is None:
            raise Unavailable("the registry sent a part of a blob without saying which")
        return _Part(response, int(found[1]), int(found[3]))
    length = response.headers.get("content-length", "")
    if not length.isdigit():
        raise Unavailable("the registry sent a blob without its length")
    return _Part(response, 0, int(length))
