"""``towpath promote --wait``: until holds and freezes have ended, then until every replica shows the image."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from identity.grants import matches
from oci_wire.errors import ManifestUnknown, NameUnknown, RegistryError
from oci_wire.registry import Call
from promotions.engine import Engine
from promotions.outcome import Ending, Outcome
from promotions.place import Place
from promotions.progress import Watch
from promotions.replicate import replications_of
from topology.model import Replication
from towpath.exits import Exit
from towpath.output import Output
from towpath.problem import Problem

HOLD_POLL = 5.0  # seconds until the gates are asked again
REPLICA_POLL = 0.2  # seconds


async def held(engine: Engine, outcome: Outcome, watch: Watch, out: Output, *, poll: float = HOLD_POLL) -> Outcome:
    """Goes on with the very promotion that waits, not with what its tag shows by then."""
    told = ""
    while outcome.ending is Ending.WAITING and outcome.promotion:
        if (reason := "; ".join(outcome.reasons)) != told:
            out.talk(f"waiting   {reason}   {outcome.promotion}")
            told = reason
        await asyncio.sleep(poll)
        outcome = await engine.resume(outcome.promotion, watch=watch)
    return outcome


@dataclass(frozen=True, slots=True)
class Replicas:
    """Where else a promoted image must come to be shown. ``moving``: whether somebody replicates at all; ``starts``: the
    command that makes it so."""

    engine: Engine
    out: Output
    moving: Callable[[], bool]
    starts: str = "towpath up"

    async def whole(self, outcome: Outcome) -> None:
        """Says each replica once its tags show the digest: they move last, when everything behind them is there.

        Raises Problem (exit 5) when nobody would ever replicate."""
        began = time.monotonic()
        await asyncio.gather(*(self._one(each, node, outcome, began) for each, node in self._replicas(outcome)))

    def _replicas(self, outcome: Outcome) -> Iterator[tuple[Replication, str]]:
        for edge in replications_of(self.engine.topology, outcome.target):
            if not matches(outcome.repository, edge.repositories) or not _travelling(edge, outcome):
                continue
            if edge.on == "event":
                yield from ((edge, node) for node in edge.targets)
            else:
                self.out.talk(f"{edge.id} replicates on schedule; that is not waited for")

    async def _one(self, edge: Replication, node: str, outcome: Outcome, began: float) -> None:
        source, target = (self.engine.registries.place(each, outcome.repository) for each in (edge.source, node))
        problem = ""
        while missing := await _missing(source, target, edge, outcome):
            if not self.moving():
                raise Problem(
                    "not-replicated",
                    f"{node} does not show the image yet, and nobody replicates: the controller does not run",
                    next=f"{self.starts} starts it; or, once: towpath replicate {edge.id} {outcome.repository}",
                    exit=Exit.WAITING,
                )
            if missing != problem and missing not in outcome.tags:
                self.out.talk(f"{node}: {missing}; waiting")
                problem = missing
            await asyncio.sleep(REPLICA_POLL)
        self._say(edge, node, time.monotonic() - began)

    def _say(self, edge: Replication, node: str, seconds: float) -> None:
        site = getattr(self.engine.topology.nodes[node], "site", None) or node
        objective = edge.lag.total_seconds() if edge.lag else None
        record = {"event": "replicated", "node": node, "site": site, "seconds": seconds, "objective": objective}
        aim = f" (objective {objective:.0f} s)" if objective else ""
        self.out.emit(record, f"verify    {site} ✓ {node} replicated in {seconds:.0f} s{aim}")


def _travelling(edge: Replication, outcome: Outcome) -> list[str]:
    return [tag for tag in outcome.tags if matches(tag, edge.tags.globs)]


async def _missing(source: Place, target: Place, edge: Replication, outcome: Outcome) -> str:
    """A tag that the target does not show as the source does, or what is wrong; "" when there is none. A tag that has
    moved on at the source is not waited for."""
    try:
        for tag in _travelling(edge, outcome):
            if await _shown(target, tag) != outcome.digest and await _shown(source, tag) == outcome.digest:
                return tag
    except RegistryError as error:
        return error.message
    return ""


async def _shown(place: Place, tag: str) -> str:
    try:
        return str((await place.registry.resolve(Call(), place.repository, tag)).digest)
    except (ManifestUnknown, NameUnknown):
        return ""
