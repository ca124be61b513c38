"""Bytes on their way in: a file that grows, and the hash of what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from oci_wire.digest import Digest, Hasher, new_hasher
from oci_wire.errors import SizeInvalid
from oci_wire.registry import Chunks
from registry_node.bulk import InBulk
from registry_node.storage.files import PIECE, BlobFiles, append, append_to, pieces, start_writeback
from registry_node.storage.ownership import alone

T = TypeVar("T")


@dataclass(slots=True)
class Incoming:
    """A growing file. ``size`` and ``hasher`` speak of the same bytes, all of which are in the file.

    ``writer`` counts the requests that wrote to it: a newer one takes over from one whose client has gone; ``feeding``
    is one that writes in bulk."""

    path: Path
    algorithm: str
    hasher: Hasher
    size: int = 0
    expires: float = 0.0
    writer: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    feeding: asyncio.Future[None] | None = None

    @classmethod
    def new(cls, path: Path, algorithm: str) -> Incoming:
        """Raises DigestInvalid for an algorithm that we do not compute."""
        hasher = new_hasher(algorithm)
        append(path, b"")
        return cls(path, algorithm, hasher)

    @classmethod
    def resume(cls, path: Path, algorithm: str) -> Incoming:
        """Reads again what an earlier process received. Raises FileNotFoundError."""
        found = cls(path, algorithm, new_hasher(algorithm))
        for piece in pieces(path):
            found.hasher.update(piece)
            found.size += len(piece)
        return found

    def taken_over(self) -> int:
        """Ends whichever request still writes; the number of the new one. What the older one holds is in the file once
        ``lock`` is free."""
        self.writer += 1
        if self.feeding is not None:
            self.feeding.cancel()
        return self.writer

    def write(self, content: bytes | bytearray | memoryview, size: int | None = None) -> None:
        """Adds bytes. ``size``: how many there are to be in all. Raises SizeInvalid, OSError, and what ``alone`` raises
        when another process goes on with this upload: then nothing was added."""
        if size is not None and self.size + len(content) > size:
            raise SizeInvalid(f"this blob has {size} bytes, and more came")
        with alone(self.path, self.size) as file:
            append_to(file, content)
        start_writeback(self.path, self.size, self.size + len(content))
        self.hasher.update(memoryview(content))
        self.size += len(content)

    @property
    def stale(self) -> bool:
        """Whether another process has gone on with it, or ended it."""
        try:
            return self.path.stat().st_size != self.size
        except FileNotFoundError:
            return True

    def keep(self, files: BlobFiles, digest: Digest) -> None:
        """Puts it in place as the content that it was verified to be. Raises what ``alone`` raises."""
        with alone(self.path, self.size):
            files.keep(self.path, digest)

    def digest(self) -> Digest:
        """Of all bytes, with the algorithm that was announced."""
        return Digest(self.algorithm, self.hasher.hexdigest())


async def until_bulky(chunks: Chunks) -> AsyncIterator[bytes]:
    """A body's chunks; those that a thread had better take (``InBulk``) are left."""
    if not isinstance(chunks, InBulk):
        async for chunk in chunks:
            yield chunk
        return
    while not chunks.bulky and (chunk := await anext(chunks, b"")):
        yield chunk


async def gathered(chunks: Chunks) -> AsyncIterator[bytearray]:
    """The same bytes in pieces that are worth a thread. What came before an error comes first, then the error."""
    buffer = bytearray()
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= PIECE:
                yield buffer
                buffer = bytearray()
    except Exception:
        if buffer:
            yield buffer
        raise
    if buffer:
        yield buffer


async def overlapped(pieces: AsyncIterator[bytearray], write: Callable[[bytearray], Awaitable[None]]) -> None:
    """Writes each piece while the next one is on its way; one write at a time, in order.

    A write that has begun ends before this returns, also when the sender fails or the caller is cancelled: nobody
    may touch the file while a thread still writes to it."""
    running: asyncio.Future[None] | None = None
    try:
        async for piece in pieces:
            if running is not None:
                await asyncio.shield(running)
            running = asyncio.ensure_future(write(piece))
    finally:
        if running is not None:
            await ended(running)
    if running is not None:
        running.result()


async def whole(work: Awaitable[T]) -> T:
    """Awaits it to its end even when the caller is cancelled meanwhile: what a thread holds cannot be taken away."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await ended(running)
        raise


async def ended(running: asyncio.Future[Any]) -> None:
    """Waits for it, however often the caller is cancelled meanwhile."""
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            cancelled = True
    if not running.cancelled():
        running.exception()  # looked at: when the sender failed first, its error is the one that counts
    if cancelled:
        raise asyncio.CancelledError
