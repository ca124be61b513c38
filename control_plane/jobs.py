"""What the clock runs: a topology's schedules as jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from promotions.cleanup import Cleaner
from promotions.clock import Job
from promotions.replicate import Replicator
from topology.model import Cleanup, LocalNode, Replication, Topology


def jobs_of(topology: Topology, replicator: Replicator, cleaner: Cleaner) -> list[Job]:
    """Reconciles and scheduled replications, then the cleanups of the scopes whose primary is ours."""
    return [*_replications(topology, replicator), *_cleanups(topology, cleaner)]


def _replications(topology: Topology, replicator: Replicator) -> Iterator[Job]:
    for edge in topology.replications:
        work: Callable[[], Coroutine[Any, Any, str]] = partial(_reconcile, replicator, edge)
        if edge.reconcile is not None:
            yield Job(f"reconcile {edge.id}", work, every=edge.reconcile)
        if edge.cron is not None:
            yield Job(f"replicate {edge.id}", work, cron=edge.cron, timezone=edge.timezone)


def _cleanups(topology: Topology, cleaner: Cleaner) -> Iterator[Job]:
    for name, scope in topology.scopes.items():
        rules: Cleanup | None = scope.cleanup
        if rules is not None and isinstance(topology.primary_of(name), LocalNode):
            work = partial(_clean, cleaner, name)
            yield Job(f"cleanup {name}", work, every=rules.every, cron=rules.cron, timezone=rules.timezone)


async def _reconcile(replicator: Replicator, edge: Replication) -> str:
    whole = partly = 0
    async for report in replicator.everything(edge):
        whole += report.whole
        partly += not report.whole
    return f"{whole} repositories whole" + (f", {partly} not everywhere" if partly else "")


async def _clean(cleaner: Cleaner, scope: str) -> str:
    cleaned = await cleaner.run(scope)
    return cleaned.waits or f"{len(cleaned.removed)} tags removed of {len(cleaned.preview.decisions)}"
