"""Waking those who wait for a change, also for one that another process made.

A change of this process wakes at once. Those of others are found by looking at the index's last position: nothing
has to tell us, so nothing can forget to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LOOK_SECONDS = 0.1


class News:
    """``last`` gives the last position of the index. Belongs to one event loop."""

    def __init__(self, last: Callable[[], int], *, shared: bool) -> None:
        self._last, self._shared = last, shared
        self._changed = asyncio.Event()
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """This process has changed something."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, after: int, seconds: float) -> None:
        """Until the index is beyond a position, or the time is over."""
        until = time.monotonic() + seconds
        self._waiting += 1
        try:
            while (left := until - time.monotonic()) > 0:
                changed = self._changed  # taken before looking, so that none is missed
                if self._last() > after:
                    return
                await self._next(changed, left)
        finally:
            self._waiting -= 1

    async def _next(self, changed: asyncio.Event, seconds: float) -> None:
        if self._shared and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """One look for all who wait; ends when nobody does."""
        seen = self._last()
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._last()
            if now != seen:
                seen = now
                self.tell()
