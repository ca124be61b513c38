"""The bytes of a blob on their way from an upstream: not faster than was declared, not slower than is bearable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from oci_wire.errors import RegistryError, TimedOut
from oci_wire.registry import Chunks
from oci_wire.streams import ForThreads, Run, Sink, close

T = TypeVar("T")

STALL_SECONDS, STALL_BYTES = 30.0, 30 * 1024  # fewer bytes in so long a wait for the upstream: it counts as down


class Pace:
    """``bytes_per_second`` for all streams of one upstream together; None: as fast as it comes."""

    def __init__(self, bytes_per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._free_at = 0.0

    @property
    def limited(self) -> bool:
        return self._rate is not None

    def wait_for(self, count: int) -> float:
        """Takes so many bytes; seconds to wait with the next ones."""
        if self._rate is None:
            return 0.0
        now = self._clock()
        self._free_at = max(self._free_at, now) + count / self._rate
        return self._free_at - now


class Patience:
    """Only the time in which the upstream is waited for counts: a slow client is not its fault."""

    def __init__(self, seconds: float = STALL_SECONDS, least: int = STALL_BYTES) -> None:
        self._seconds, self._least = seconds, least
        self._waited, self._received = 0.0, 0

    @property
    def left(self) -> float:
        return self._seconds - self._waited

    def note(self, waited: float, received: int) -> None:
        """Raises TimedOut."""
        self._waited += waited
        self._received += received
        if self._received >= self._least:
            self._waited, self._received = 0.0, 0
        elif self._waited >= self._seconds:
            raise TimedOut(f"{self._received} bytes in {self._waited:.0f} s")


async def flowing(chunks: Chunks, pace: Pace, patience: Patience) -> AsyncIterator[bytes]:
    """The same bytes. Raises TimedOut when they come too slowly."""
    end = aiter(chunks)
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience.left):
                chunk = await anext(end)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise TimedOut("no bytes") from error
        patience.note(time.monotonic() - began, len(chunk))
        if wait := pace.wait_for(len(chunk)):
            await asyncio.sleep(wait)
        yield chunk


class Flow(AsyncIterator[bytes]):
    """One of these streams; on a thread (``ForThreads``) unless a pace is set, which keeps one from being busy.

    ``received`` is told how many bytes came; ``failed`` makes the error to raise of one."""

    def __init__(
        self,
        chunks: Chunks,
        pace: Pace,
        received: Callable[[int], None],
        failed: Callable[[RegistryError], RegistryError],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        """``end`` is called when the stream is closed, each time."""
        self._chunks, self._pace, self._received, self._failed, self._end = chunks, pace, received, failed, end
        self._flowing = flowing(chunks, pace, Patience())

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._flowing)
        except RegistryError as error:
            raise self._failed(error) from error
        self._received(len(chunk))
        return chunk

    @property
    def bulky(self) -> bool:
        return not self._pace.limited and isinstance(self._chunks, ForThreads) and self._chunks.bulky

    async def taken(self, sink: Sink, run: Run) -> AsyncGenerator[int, None]:
        assert isinstance(self._chunks, ForThreads)
        work, patience, since = _Work(sink, run), Patience(), time.monotonic()
        try:
            async with aclosing(self._chunks.taken(work.sink, work.run)) as counts:
                async for count in counts:
                    now = time.monotonic()
                    patience.note(max(0.0, now - since - work.spent()), count)
                    self._received(count)
                    since = now
                    yield count
        except RegistryError as error:
            raise self._failed(error) from error

    async def aclose(self) -> None:
        try:
            await close(self._flowing)
            await close(self._chunks)
        finally:
            await self._end()


class _Work:
    """Times what is no fault of the upstream: what the sink does, and the wait for a thread."""

    def __init__(self, sink: Sink, run: Run) -> None:
        self._sink, self._run, self._spent = sink, run, 0.0

    def sink(self, view: memoryview) -> None:
        began = time.monotonic()
        self._sink(view)
        self._spent += time.monotonic() - began

    async def run(self, work: Callable[[], T]) -> T:
        asked = time.monotonic()

        def timed() -> T:
            self._spent += time.monotonic() - asked
            return work()

        return await self._run(timed)

    def spent(self) -> float:
        """Seconds since the last time that this was asked."""
        spent, self._spent = self._spent, 0.0
        return spent
