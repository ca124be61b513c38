"""One blob on its way from an upstream: to the disk, and to everybody who waits for it.

The upstream is read once, at its own pace; each reader follows in the growing file at theirs. The bytes are hashed as
they come, and **the last piece of every answer is withheld until the digest of the whole matches**: what is not what its
digest says is never complete, neither at a client nor in the cache. A stream that breaks is taken up where it broke.

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
from dataclasses import dataclass

from oci_wire.digest import Digest
from oci_wire.errors import RangeInvalid, RegistryError, Unavailable
from oci_wire.registry import BlobStream, Chunks
from oci_wire.streams import Owned, close
from registry_node.storage.incoming import Incoming, ended, whole
from registry_node.storage.store import Store

log = logging.getLogger(__name__)
PIECE = 512 * 1024  # bytes that are written, hashed and handed on at once
WINDOW = 8 * PIECE  # bytes in memory when they cannot be stored
_LATE = 0.1  # seconds after which a smaller piece goes on
MAX_CUTS = 5  # in a row, without PROGRESS bytes between them
PROGRESS = 1024 * 1024

Open = Callable[[int], Awaitable[tuple[str, BlobStream]]]  # from this byte on; the upstream's name


@dataclass(slots=True)
class Part:
    """What has come of a blob so far. ``size``: of the whole, 0 while it is not known."""

    incoming: Incoming
    size: int = 0


class WrongBytes(Unavailable):
    """What an upstream sent is not what its digest says."""

    status, transient = 502, False


class Fill:
    """``task`` runs it. Readers ``join`` and leave; ``size`` is known once ``opened`` is set."""

    def __init__(self, digest: Digest, part: Part, store: Store, open_at: Open, most: int | None) -> None:
        """``most``: bytes of the largest blob that is kept."""
        self.digest, self.incoming, self.upstream = digest, part.incoming, ""
        self._store, self._open, self._most = store, open_at, most
        self.size, self.received = part.size, part.incoming.size  # ``received``: bytes that readers can have
        self.keys: set[str] = set()  # the repositories that get it
        self.verified, self.stored, self.cuts = False, True, 0
        self.opened = asyncio.Event()
        self.error: BaseException | None = None
        self.readers: set[Reading] = set()
        self.began = time.monotonic()
        self._told = asyncio.Event()
        self._window: deque[bytes] = deque()
        self._window_at = 0  # where the window begins in the blob
        try:
            self._file = os.open(part.incoming.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # nothing can be written there
            self._file, self.stored = -1, False

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
        await self._verify()

    async def _stream(self) -> Chunks:
        """The bytes from where we are."""
        at = self.received
        try:
            upstream, stream = await self._open(at)
        except RangeInvalid:  # what has come is more than there is: no client asked for this range
            raise WrongBytes(f"the {at} bytes of {self.digest} that have come are not of it; ask again") from None
        if (self.size and stream.descriptor.size != self.size) or stream.start != at:
            await stream.aclose()
            raise WrongBytes(f"upstream {upstream} went on with {self.digest} at another place or size")
        self.upstream, self.size = upstream, stream.descriptor.size
        if self._most is not None and self.size > self._most:
            self.stored = False
        self.opened.set()
        self.tell()
        return Owned(stream.chunks, stream.aclose)

    async def _take_all(self, chunks: Chunks) -> None:
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
            await close(chunks)
        if self.received < self.size:
            raise Unavailable(
                f"upstream {self.upstream} ended {self.digest} after {self.received} of {self.size} bytes"
            )

    async def _take(self, piece: bytes) -> None:
        if self.received + len(piece) > self.size:
            raise WrongBytes(f"upstream {self.upstream} sent more than the {self.size} bytes of {self.digest}")
        if self.stored and not await self._stored(piece):
            self.stored, self._window_at = False, self.received
        if not self.stored:
            await self._pass_on(piece)
        self.received += len(piece)
        self.tell()

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
            await self._next()
        self._window.append(piece)

    def _in_window(self) -> int:
        """Its bytes, without those that all readers have: they are dropped."""
        least = min((each.at for each in self.readers), default=self.received)
        while self._window and self._window_at + len(self._window[0]) <= least:
            self._window_at += len(self._window.popleft())
        return sum(map(len, self._window))

    async def _verify(self) -> None:
        found = await self._store.from_disk("a blob", self.incoming.hasher.hexdigest)
        if found != self.digest.hex:
            raise WrongBytes(f"upstream {self.upstream} sent other bytes than {self.digest}")
        self.verified = True
        self.tell()

    def tell(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def _next(self) -> None:
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
            await self._next()

    async def read(self, start: int, stop: int) -> bytes:
        """At least one byte, at most up to ``stop``, as soon as there is one. Raises why there will be none."""
        while self.received <= start:
            if self.error is not None:
                raise self.error
            await self._next()
        end = min(stop, self.received, start + PIECE)
        if start < self.incoming.size:
            return await self._from_file(start, min(end, self.incoming.size))
        return self._from_window(start, end)

    async def _from_file(self, start: int, end: int) -> bytes:
        found = await self._store.from_disk("a blob", os.pread, self._file, end - start, start)
        if not found:
            raise Unavailable(f"the part of {self.digest} that was here is gone; ask again")
        return found

    def _from_window(self, start: int, end: int) -> bytes:
        at = self._window_at
        for piece in self._window:
            if at <= start < at + len(piece):
                return piece[start - at : end - at]
            at += len(piece)
        raise Unavailable(f"{self.digest} is not kept here and went by; ask again")

    def close(self) -> None:
        """Once nobody reads it any more and no more is coming."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class Reading:
    """One answer out of a fill: the bytes ``at`` to ``stop``, which are set once the size is known. ``left`` is called
    once, when it ends."""

    def __init__(self, fill: Fill, left: Callable[[Reading], None]) -> None:
        self.fill, self.at, self.stop, self._left = fill, 0, 0, left
        fill.readers.add(self)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Each piece once the next one is here, the last one once the whole is verified."""
        held = b""
        while self.at < self.stop:
            piece = await self.fill.read(self.at, self.stop)
            self.at += len(piece)
            if not self.fill.stored:
                self.fill.tell()
            if held:
                yield held
            held = piece
        await self.fill.until_verified()
        if held:
            yield held

    async def leave(self) -> None:
        if self in self.fill.readers:
            self.fill.readers.discard(self)
            self.fill.tell()
            self._left(self)


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
