"""The inline queue: promotions that nobody works on any more go on, and those that wait are looked at again.

Rows are the truth (ADR 0004); this only picks them up. Run it from the clock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from promotions.engine import Engine
from promotions.outcome import Outcome
from promotions.states import ImpossibleTransition
from promotions.store import RowMoved

LOG = logging.getLogger("towpath.queue")
REST_SECONDS = 30.0  # a row that changed since is somebody's: its runner needs no help


@dataclass(frozen=True, slots=True)
class Queue:
    engine: Engine
    rest: float = REST_SECONDS

    async def work(self) -> list[Outcome]:
        """Every live promotion that rested, oldest first, one after the other; what somebody runs now is left to them.

        One that cannot be worked on does not stop the others. Raises DatabaseUnusable, LedgerBroken, OSError."""
        outcomes = []
        for row in await self.engine.store.live():
            if 0.0 <= self.engine.now() - row.state_at < self.rest:  # a time to come is a clock that was put back
                continue
            try:
                outcome = await self.engine.resume_unclaimed(row.id)
            except (RowMoved, ImpossibleTransition, LookupError) as error:
                LOG.warning("%s: %s", row.id, error)
                continue
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes
