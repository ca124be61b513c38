"""One blob on its way from an upstream: to the disk, and to everybody who waits for it (reading.py).

The upstream is read once, at its own pace; each reader follows in the growing file at theirs. The bytes are hashed as
they come, and **the last piece of every answer is withheld until the digest of the whole matches**: what is not what its
digest says is never complete, neither at a client nor in the cache. A stream that breaks is taken up where it broke.
What is long goes from the connection to the file on a thread, without the event loop (``ForThreads``).

When the disk takes no more, or the blob is larger than the cache, the bytes pass through memory: a window of them, which
the slowest reader moves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from io import FileIO
from typing import Protocol

from oci_wire.errors import BadGateway, RangeInvalid, RegistryError, Unavailable
from oci_wire.registry import BlobStream, Chunks
from oci_wire.streams import ForThreads, Run, close
from registry_node.growing import FilePart
from registry_node.registries.mirror.parts import Part, Sought
from registry_node.registries.upstreams.asked import Answer, May
from registry_node.storage.incoming import ended, whole
from registry_node.storage.store import Store

log = logging.getLogger(__name__)
PIECE = 512 * 1024  # bytes that are written, hashed and handed on at once, on the event loop's way
WINDOW = 8 * PIECE  # bytes in memory when they cannot be stored
_LATE = 0.1  # seconds after which a smaller piece goes on
MAX_CUTS = 5  # in a row, without PROGRESS bytes between them
PROGRESS = 1024 * 1024

Open = Callable[[int, May], Awaitable[Answer[BlobStream]]]  # from this byte on, of an upstream that will do


class Follower(Protocol):
    """Somebody who reads the bytes up to ``stop`` (0: not known yet). ``at``: the next byte that they need from here."""

    at: int
    stop: int


class _NotKept(Exception):
    """The disk does not take these bytes."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece


class WrongBytes(BadGateway):
    """What an upstream sent is not what its digest says: the same bytes would not become right."""

    transient = False

    def __init__(self, upstream: str, text: str) -> None:
        super().__init__(f"upstream {upstream} {text}", upstream=upstream, reason="bad-answer")


class Cut(BadGateway):
    """A stream ended before its end."""

    def __init__(self, upstream: str, text: str) -> None:
        super().__init__(f"upstream {upstream} {text}", upstream=upstream, reason="cut")


class Fill:
    """Readers come and go; ``size`` is known once ``opened`` is set. ``givers``: the upstreams that its bytes came from,
    ``upstream`` the last one."""

    def __init__(
        self, sought: Sought, part: Part, store: Store, open_at: Open, most: int | None, *, threads: Run
    ) -> None:
        """``most``: bytes of the largest blob that is kept."""
        self.sought, self.digest, self.part = sought, sought.digest, part  # ``part``: what has come of it
        self.incoming, self.givers = part.incoming, part.givers
        self.upstream = ", ".join(sorted(part.givers))
        self._store, self._open, self._most, self._threads = store, open_at, most, threads
        self.size, self.received = part.size, part.incoming.size  # ``received``: bytes that readers can have
        self.keys: set[str] = set()  # the repositories that get it
        self.narrowed: Callable[[], None] = lambda: None  # called when it is for one of them alone from now on
        self.verified, self.stored, self.cuts = False, True, 0
        self.stopping = False  # everybody has left, and it ends; ``Task.cancelling`` also counts what libraries do
        self.opened = asyncio.Event()
        self.error: BaseException | None = None
        self.readers: set[Follower] = set()
        self.began = time.monotonic()
        self._told = asyncio.Event()
        self._window: deque[bytes] = deque()
        self._window_at = 0  # where the window begins in the blob
        self._file: FileIO | None = None
        try:
            self._file = FileIO(part.incoming.path)
        except OSError:  # nothing can be written there
            self.stored, self._window_at = False, self.received

    # The side of the upstream

    async def run(self) -> None:
        """Until all bytes are here and verified. Raises what the upstream raised, WrongBytes, SizeInvalid."""
        if self.size and self.received == self.size:  # a part that lacked nothing but its verification
            self.opened.set()
        last_cut = self.received
        while not self.opened.is_set() or self.received < self.size:
            try:
                await self._take_all(await self._stream())
            except (RegistryError, OSError) as error:
                if not self.opened.is_set() or not getattr(error, "transient", False):
                    raise
                self.cuts = 1 if self.received - last_cut >= PROGRESS else self.cuts + 1
                last_cut = self.received
                if self.cuts > MAX_CUTS:
                    raise
        self._verify()

    async def _stream(self) -> Chunks:
        """The bytes from where we are."""
        at = self.received
        try:
            answer = await self._open(at, self._may)
        except RangeInvalid:  # what has come is more than there is: no client asked for this range
            raise WrongBytes(self.upstream, f"has fewer than the {at} bytes of {self.digest} that have come") from None
        upstream, stream = answer.upstream, answer.value
        self.givers.add(upstream)
        self.part.held = self.part.held and answer.held
        if (self.size and stream.descriptor.size != self.size) or stream.start != at:
            await stream.aclose()
            raise WrongBytes(upstream, f"went on with {self.digest} at another place or size")
        self.upstream, self.size = upstream, stream.descriptor.size
        self.part.size = self.size
        if self._most is not None and self.size > self._most:
            self.stored = False
        self.opened.set()
        self.tell()
        return stream.chunks

    def _may(self, upstream: str) -> bool:
        """Whether it may take bytes of this upstream: of another one than all who joined may have it from only when it
        is for one repository, for which that upstream is asked; and then no other one joins it any more."""
        if self.sought.giver in ("", upstream):
            return True
        if len(self.keys) > 1:
            return False
        self.narrowed()
        return True

    async def _take_all(self, chunks: Chunks) -> None:
        try:
            if self.stored and isinstance(chunks, ForThreads) and chunks.bulky:
                await self._take_on_threads(chunks)
            else:
                await self._take_in_pieces(chunks)
        finally:
            await close(chunks)
        if self.received < self.size:
            raise Cut(self.upstream, f"ended {self.digest} after {self.received} of {self.size} bytes")

    async def _take_on_threads(self, chunks: ForThreads) -> None:
        """What the disk does not take goes on in memory; the rest is then asked for again."""
        loop, write = asyncio.get_running_loop(), self._store.guarded("a blob", self.incoming.write)

        def sink(piece: memoryview) -> None:
            try:
                write(piece, self.size)
            except RegistryError as error:
                log.warning("%s is not kept: %s", self.digest, error)
                raise _NotKept(bytes(piece)) from error
            loop.call_soon_threadsafe(self._came, self.incoming.size)

        try:
            async with aclosing(chunks.taken(sink, self._threads)) as counts:
                async for _ in counts:
                    pass
        except _NotKept as error:
            self.stored, self._window_at = False, self.incoming.size
            await self._pass_on(error.piece)
            self._came(self.incoming.size + len(error.piece))
        finally:
            self._came(self.incoming.size)

    def _came(self, received: int) -> None:
        """Readers can have so many bytes."""
        self.received = max(self.received, received)
        self.tell()

    async def _take_in_pieces(self, chunks: Chunks) -> None:
        """Writes each piece while the next one is on its way."""
        running: asyncio.Task[None] | None = None
        try:
            async for piece in _gathered(chunks):
                if running is not None:
                    await running
                running = asyncio.create_task(self._take(piece))
            if running is not None:
                await running
        except asyncio.CancelledError:
            if running is not None:
                running.cancel()
            raise
        finally:
            if running is not None:
                await ended(running)

    async def _take(self, piece: bytes) -> None:
        if self.received + len(piece) > self.size:
            raise WrongBytes(self.upstream, f"sent more than the {self.size} bytes of {self.digest}")
        if self.stored and not await self._stored(piece):
            self.stored, self._window_at = False, self.received
        if not self.stored:
            await self._pass_on(piece)
        self._came(self.received + len(piece))

    async def _stored(self, piece: bytes) -> bool:
        try:
            await whole(self._store.on_disk("a blob", self.incoming.write, piece, self.size))
        except RegistryError as error:
            log.warning("%s is not kept: %s", self.digest, error)
            return False
        return True

    async def _pass_on(self, piece: bytes) -> None:
        """Waits for room in the window: the slowest reader decides."""
        await asyncio.get_running_loop().run_in_executor(None, self.incoming.hasher.update, piece)
        while self._in_window() + len(piece) > WINDOW:
            await self.news()
        self._window.append(piece)

    def _in_window(self) -> int:
        """Its bytes, without those that all readers have: they are dropped. Who has all of theirs waits for the end of
        the blob, and holds up nobody."""
        needed = (each.at for each in self.readers if not each.stop or each.at < each.stop)
        least = min(needed, default=self.received)
        while self._window and self._window_at + len(self._window[0]) <= least:
            self._window_at += len(self._window.popleft())
        return sum(map(len, self._window))

    def _verify(self) -> None:
        if self.incoming.hasher.hexdigest() != self.digest.hex:
            raise WrongBytes(self.upstream, f"sent other bytes than {self.digest}")
        self.verified = True
        self.tell()

    def tell(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def news(self) -> None:
        """Returns when something has happened."""
        await self._told.wait()

    def fail(self, error: BaseException) -> None:
        """Nobody gets any further."""
        self.error = error
        self.opened.set()
        self.tell()

    # The side of a reader

    async def until_open(self) -> int:
        """The size. Raises what kept it from being opened."""
        await self.opened.wait()
        if self.error is not None and not self.verified:
            raise self.error
        return self.size

    async def until_verified(self) -> None:
        """Raises why it never will be."""
        while not self.verified:
            if self.error is not None:
                raise self.error
            await self.news()

    @property
    def in_file(self) -> int:
        """Bytes that readers can have out of the file; what is beyond goes by in memory."""
        return min(self.received, self.incoming.size)

    def file_part(self, start: int, end: int) -> FilePart:
        """Raises Unavailable when the file could not be opened."""
        if self._file is None:
            raise Unavailable(f"the part of {self.digest} that is here cannot be read; ask again")
        return FilePart(self._file, start, end - start)

    async def read(self, part: FilePart) -> bytes:
        """At least a byte of it."""
        found = await self._store.from_disk("a blob", os.pread, part.file.fileno(), part.count, part.offset)
        if not found:
            raise Unavailable(f"the part of {self.digest} that was here is gone; ask again")
        return found

    def from_window(self, start: int, end: int) -> bytes:
        """At least one byte."""
        at = self._window_at
        for piece in self._window:
            if at <= start < at + len(piece):
                return piece[start - at : end - at]
            at += len(piece)
        raise Unavailable(f"{self.digest} is not kept here and went by; ask again")

    def close(self) -> None:
        """Once nobody reads it any more and no more is coming."""
        if self._file is not None:
            self._file.close()


async def _gathered(chunks: Chunks) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread, unless they come slowly. What came before an error comes
    first."""
    buffer, began = bytearray(), time.monotonic()
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= PIECE or time.monotonic() - began > _LATE:
                yield bytes(buffer)
                buffer, began = bytearray(), time.monotonic()
    except RegistryError:
        if buffer:
            yield bytes(buffer)
        raise
    if buffer:
        yield bytes(buffer)
