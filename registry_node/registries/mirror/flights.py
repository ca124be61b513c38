"""One question for all who ask the same at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Belongs to one event loop. Who leaves does not stop what others wait for: nothing here is long."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The work that is under way under this key, or this one, begun. Await it shielded."""
        found = self._running.get(key)
        if found is None:
            found = self._running[key] = asyncio.create_task(work())
            found.add_done_callback(lambda done: self._landed(key, done))
        return found

    async def wait(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Raises what the work raises."""
        return await asyncio.shield(self.join(key, work))

    def _landed(self, key: Hashable, done: asyncio.Task[T]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # looked at: whoever asked may have left

    def stop(self) -> None:
        for each in self._running.values():
            each.cancel()
