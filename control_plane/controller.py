"""The controller: follows events, keeps the clock, and so brings replicas and retention to what the topology says.

Everything that it does can be stopped at any point and goes on when it runs again: its rows say how far it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from promotions.clock import Clock
from promotions.follow import Follower
from promotions.replicate import Replicator
from topology.model import Topology

LOG = logging.getLogger("towpath.control")


@dataclass(frozen=True, slots=True)
class Controller:
    """``ready`` is called once everything runs."""

    topology: Topology
    replicator: Replicator
    clock: Clock
    ready: Callable[[], None]

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop`` is set. Raises what a part of it raises: a controller that lost a part must not look whole."""
        followers = [Follower(self.replicator, edge) for edge in self.topology.replications if edge.on == "event"]
        work = [(f"follow {each.edge.id}", each.run(stop)) for each in followers]
        work.append(("clock", self.clock.run(stop)))
        tasks = _started(work)
        LOG.info("controller of %s: follows %d replications", self.topology.metadata.name, len(followers))
        self.ready()
        await _until(stop, tasks)
        LOG.info("controller stopped")


def _started(work: Sequence[tuple[str, Coroutine[Any, Any, None]]]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(each, name=name) for name, each in work]


async def _until(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Waits for the stop, or for a part that ended by itself; then ends them all. A long poll is not waited for."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        ended = [] if stop.is_set() else [task for task in tasks if task.done()]
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    for task in ended:
        LOG.error("%s ended by itself", task.get_name())
        task.result()
