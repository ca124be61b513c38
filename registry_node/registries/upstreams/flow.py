"""The bytes of a blob on their way from an upstream: not faster than was declared, not slower than is bearable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from oci_wire.errors import TimedOut
from oci_wire.registry import Chunks

STALL_SECONDS, STALL_BYTES = 30.0, 30 * 1024  # fewer bytes in so long a wait for the upstream: it counts as down


class Pace:
    """``bytes_per_second`` for all streams of one upstream together; None: as fast as it comes."""

    def __init__(self, bytes_per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._free_at = 0.0

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
