"""The one retry policy: exponential with full jitter, ``Retry-After`` honoured, and a terminal side.

Only errors that say of themselves that a later try may succeed (``RegistryError.transient``) are tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from oci_wire.errors import RegistryError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``await policy(attempt)`` calls ``attempt`` until it answers, fails for good, or has had its attempts.

    ``first`` and ``most`` bound the waits in seconds; a ``Retry-After`` longer than ``patience`` ends the trying."""

    attempts: int = 6
    first: float = 0.2
    most: float = 20.0
    patience: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What ``attempt`` answers; raises its last error unchanged."""
        trying = AsyncRetrying(
            retry=retry_if_exception(self._worth_it),
            wait=self._wait,
            stop=stop_after_attempt(self.attempts),
            sleep=self.sleep,
            reraise=True,
        )

        async def once() -> T:  # tenacity awaits what it knows for a coroutine function, and lambdas are none
            return await attempt()

        return await trying(once)

    def _worth_it(self, error: BaseException) -> bool:
        return isinstance(error, RegistryError) and error.transient and (error.retry_after or 0) <= self.patience

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after or 0.0 if isinstance(error, RegistryError) else 0.0
        return max(asked, wait_random_exponential(multiplier=self.first, max=self.most)(state))


ONCE = RetryPolicy(attempts=1)
