"""How many manifests an upstream still gives: a value that only counts. ``now``: seconds since the epoch, because it is
kept over restarts (budget_file.py).

Docker Hub gives 100 or 200 in six hours, says so in ``ratelimit-limit: 100;w=21600`` and ``ratelimit-remaining``, and
counts a GET of a manifest; a HEAD is free. What it says holds; without its word, what was declared and counted here.
The last tenth is for what is in no cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

RESERVE = 0.1  # share of the limit that refreshes of cached tags do not get
PROBE_SECONDS = 60.0  # after which a spent budget is tried again, if nobody said when it is filled
LONGEST_WAIT = 24 * 3600.0
_VALUE = re.compile(r"(\d{1,9})(?:\s*;\s*w=(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Allowance:
    """``limit`` None: nothing is known of one. ``left`` as of the window that began at ``since``.

    ``gets_at``, ``heads_at``: not before then, because of a 429 or a spent budget."""

    limit: int | None = None
    window: float = 0.0
    left: int = 0
    since: float = 0.0
    gets_at: float = 0.0
    heads_at: float = 0.0

    @classmethod
    def declared(cls, limit: int, window: float) -> Allowance:
        return cls(limit, window, limit)

    def remaining(self, now: float) -> int | None:
        """Manifests, None: not known."""
        return self._of(now).left if self.limit is not None else None

    def wait(self, now: float, *, head: bool = False) -> float:
        """Seconds until one may be asked for; 0: now."""
        at = self.heads_at if head else self.gets_at
        return min(max(0.0, at - now), LONGEST_WAIT)

    def keeps(self, now: float) -> bool:
        """Whether what is left is kept for what is in no cache."""
        left = self.remaining(now)
        return left is not None and self.limit is not None and left <= max(1, int(self.limit * RESERVE))

    def spent(self, now: float) -> Allowance:
        """A GET was answered, and nothing said of the budget."""
        if self.limit is None:
            return self
        counted = self._of(now)
        return replace(counted, left=max(0, counted.left - 1))._closed_if_empty(now)

    def learned(self, headers: Mapping[str, str], now: float) -> Allowance:
        """From the headers of an answer; itself when they say nothing."""
        limit = _VALUE.fullmatch(headers.get("ratelimit-limit", "").strip())
        left = _VALUE.fullmatch(headers.get("ratelimit-remaining", "").strip())
        if left is None:
            return self
        most = int(limit[1]) if limit else max(self.limit or 0, int(left[1]))
        window = float((limit and limit[2]) or left[2] or self.window or 0)
        began = self._of(now)
        since = began.since if began.limit is not None and int(left[1]) <= began.left else now
        told = replace(self, limit=most, window=window, left=min(int(left[1]), most), since=since)
        return replace(told, gets_at=min(told.gets_at, now)) if told.left else told._closed_if_empty(now)

    def refused(self, now: float, retry_after: float | None, *, head: bool = False) -> Allowance:
        """After a 429."""
        at = now + min(PROBE_SECONDS if retry_after is None else max(retry_after, 1.0), LONGEST_WAIT)
        if head:
            return replace(self, heads_at=at)
        return replace(self._of(now), left=0, gets_at=at)

    def _of(self, now: float) -> Allowance:
        """In the window of now. A clock that was put back begins a new one, too."""
        if self.limit is None or self.since <= now < self.since + self.window:
            return self
        return replace(self, left=self.limit, since=now)

    def _closed_if_empty(self, now: float) -> Allowance:
        return self if self.left else replace(self, gets_at=max(self.gets_at, now + PROBE_SECONDS))
