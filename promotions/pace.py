"""A bandwidth cap: whoever moves bytes waits until they fit. One pace is shared by all who must stay below it together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """``bits_per_second`` over time; None is no cap. The first bytes go at once, the following wait for those before."""

    bits_per_second: int | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _free_at: float = field(default=0.0)

    async def __call__(self, size: int) -> None:
        """Waits for the turn of ``size`` bytes."""
        if self.bits_per_second is None:
            return
        now = self.clock()
        starts = max(now, self._free_at)
        self._free_at = starts + size * 8 / self.bits_per_second
        if starts > now:
            await self.sleep(starts - now)
