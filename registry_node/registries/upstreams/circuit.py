"""Whether an upstream is asked at all: a value that only counts. No clock, no lock: ``now`` is monotonic seconds.

closed: it is asked. After ``FAILURES`` in a row open: it is not, for a time that doubles with every trial that fails.
Then half-open: one request tries it; the others wait for what it finds, by being refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

FAILURES = 5
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 120.0
LONGEST_TOLD = 3600.0  # of a Retry-After
TRIAL_SECONDS = 60.0  # after which a trial of which nothing is heard is forgotten


@dataclass(frozen=True, slots=True)
class Circuit:
    failures: int = 0  # in a row
    until: float | None = None  # open until then; None: closed
    trial: float | None = None  # when the trial began that is under way

    def state(self, now: float) -> Literal["closed", "open", "half-open"]:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half-open"

    def wait(self, now: float) -> float:
        """Seconds until it may be asked; 0: now."""
        if self.until is None:
            return 0.0
        if now < self.until:
            return self.until - now
        return 0.0 if self.trial is None or now - self.trial >= TRIAL_SECONDS else 1.0

    def asked(self, now: float) -> Circuit:
        """After ``wait`` gave 0."""
        return self if self.until is None else replace(self, trial=now)

    def succeeded(self) -> Circuit:
        return CLOSED

    def failed(self, now: float, retry_after: float | None = None) -> Circuit:
        failures = self.failures + 1
        if retry_after is None and failures < FAILURES and self.until is None:
            return Circuit(failures)
        pause = min(FIRST_PAUSE * 2 ** min(max(0, failures - FAILURES), 10), LONGEST_PAUSE)
        until = now + max(pause, min(retry_after or 0.0, LONGEST_TOLD))
        return Circuit(failures, max(until, self.until or until))

    def left(self) -> Circuit:
        """Whoever asked gave up before an answer: nothing is known, another may try."""
        return replace(self, trial=None)


CLOSED = Circuit()
