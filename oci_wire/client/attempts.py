"""Trying again is a decision, and it is not made here: a ``Retry`` is given to the client.

It has the facts in the error: ``error.transient`` and ``error.retry_after`` (seconds)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

T = TypeVar("T")
MAX_RETRY_AFTER = 3600.0
_DIGITS = re.compile(r"[0-9]+")


class Retry(Protocol):
    """Calls an attempt until it succeeds or its error is final; raises that error. An attempt may be made again."""

    async def __call__(self, attempt: Callable[[], Awaitable[T]], /) -> T: ...


async def once_only(attempt: Callable[[], Awaitable[T]], /) -> T:
    """No retry."""
    return await attempt()


def retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds from a Retry-After header: seconds or an HTTP date (RFC 9110 section 10.2.3). None for anything else.

    Capped at an hour, never negative. ``now``: seconds since the epoch."""
    if not header:
        return None
    try:
        seconds = float(header) if _DIGITS.fullmatch(header) else _until(header, time.time() if now is None else now)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _until(date: str, now: float) -> float:
    return parsedate_to_datetime(date).timestamp() - now
