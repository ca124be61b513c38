"""What the clock runs: a topology's schedules as jobs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from promotions.cleanup import Cleaner
from promotions.clock import Job
from promotions.outcome import Ending
from promotions.queue import Queue
from promotions.replicate import Replicator
from topology.model import Cleanup, LocalNode, Replication, Topology

LOG = logging.getLogger("towpath.control")


QUEUE_SECONDS = 30.0


def jobs_of(topology: Topology, queue: Queue, replicator: Replicator, cleaner: Cleaner) -> list[Job]:
    """The queue of promotions; reconciles and scheduled replications; the cleanups of scopes whose primary is ours."""
    going_on = Job("promotions", partial(_go_on, queue), every=timedelta(seconds=QUEUE_SECONDS))
    return [going_on, *_replications(topology, replicator), *_cleanups(topology, cleaner)]


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


async def _go_on(queue: Queue) -> str:
    """What waits or was left goes on by itself: a freeze ended, a node answers again, a process was killed."""
    outcomes = await queue.work()
    for each in outcomes:
        if each.ending is not Ending.WAITING:
            said = "; ".join(each.reasons) or each.code
            LOG.info(
                "promotion %s of %s over %s: %s (%s)", each.promotion, each.repository, each.edge, each.ending, said
            )
    counted = Counter(each.ending.value for each in outcomes)
    return ", ".join(f"{count} {ending}" for ending, count in sorted(counted.items())) or "nothing waits"


async def _reconcile(replicator: Replicator, edge: Replication) -> str:
    whole = partly = 0
    async for report in replicator.everything(edge):
        whole += report.whole
        partly += not report.whole
    return f"{whole} repositories whole" + (f", {partly} not everywhere" if partly else "")


async def _clean(cleaner: Cleaner, scope: str) -> str:
    cleaned = await cleaner.run(scope)
    said = cleaned.waits or f"{len(cleaned.removed)} tags removed of {len(cleaned.preview.decisions)}"
    LOG.info("cleanup of %s: %s", scope, "; ".join((said, *cleaned.preview.not_done)))
    return said
