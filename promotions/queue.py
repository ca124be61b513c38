"""The inline queue: promotions that nobody works on any more go on, and those that wait are looked at again.

Rows are the truth (ADR 0004); this only picks them up. Run it from the clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from promotions.engine import Engine
from promotions.outcome import Outcome

REST_SECONDS = 30.0  # a row that changed since is somebody's: its runner needs no help


@dataclass(frozen=True, slots=True)
class Queue:
    engine: Engine
    rest: float = REST_SECONDS

    async def work(self) -> list[Outcome]:
        """Every live promotion that rested, oldest first, one after the other. Whoever runs one is waited for."""
        outcomes = []
        for row in await self.engine.store.live():
            if self.engine.now() - row.state_at >= self.rest:
                outcomes.append(await self.engine.resume(row.id))
        return outcomes
