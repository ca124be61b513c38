"""Streams of bytes that give back what they stand on, also when nobody reads them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

from oci_wire.registry import Chunks

T = TypeVar("T")
Sink = Callable[[memoryview], None]  # takes bytes on a thread, in order; they are its own for the call only


class Run(Protocol):
    """Does work on a thread; returns when that has ended, also cancelled."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@runtime_checkable
class ForThreads(Protocol):
    """Chunks that a thread can take instead of whoever iterates."""

    @property
    def bulky(self) -> bool:
        """Whether they are worth it. Asked before the first one."""
        ...

    def taken(self, sink: Sink, run: Run) -> AsyncGenerator[int, None]:
        """Gives all of them to ``sink``; yields how many bytes it got each time, also 0. Raises what iterating would,
        and what the sink raises."""
        ...


class Owned(AsyncIterator[bytes]):
    """Chunks with an end of their own. A generator that was never begun runs no ``finally``; this does."""

    def __init__(self, chunks: Chunks, end: Callable[[], Awaitable[None]]) -> None:
        self._chunks = chunks
        self._end = end

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        try:
            await close(self._chunks)
        finally:
            await self._end()


async def close(chunks: Chunks) -> None:
    """Ends a stream, begun or not."""
    end = getattr(chunks, "aclose", None)
    if end is not None:
        await end()


async def pieces(chunks: Chunks, size: int) -> AsyncIterator[bytes]:
    """The same bytes cut anew: each piece has ``size`` bytes but the last, which is shorter and never empty."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        while len(held) > size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
