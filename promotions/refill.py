"""A source that lost what it had: nothing is deleted for that, and a target of its can give it back.

A repository's rev at one of our nodes grows with every change and is never reused, so one that is lower than the rev that
was compared before belongs to another index: an empty one, or an older one that was restored. What it lacks was not
deleted there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from identity.grants import matches
from oci_wire.registry import Call, Registry, every
from promotions.outcome import Refused
from promotions.place import Place
from promotions.positions import Positions
from topology.model import Replication

HELD = 2**53  # a rev that none reaches: remembered until a person has decided, however many pushes come meanwhile


@dataclass(frozen=True, slots=True)
class WentBack:
    """``held``: the target has tags that the source lacks, and nobody said that they may go."""

    held: bool

    def told(self, edge: Replication, source: Place, target: str, gone: int, there: int) -> str:
        return (
            f"{source.node} counts fewer changes of {source.name} than it did: it was emptied or restored. "
            f"It lacks {gone} of {there} tags of {target}; none is deleted for that. "
            f"To bring them back: towpath replicate {edge.id} --from {target}; to delete them: --confirm"
        )


async def went_back(
    positions: Positions, place: tuple[str, str, str], rev: int | None, confirmed: bool, now: float
) -> WentBack | None:
    """When the source counts fewer changes than were compared, or shows the repository no more. ``place``: replication,
    target, repository; ``rev`` None: there is no such repository, or nobody counts."""
    compared = await positions.referrers_rev(*place)
    if compared is None or (rev is not None and rev >= compared):
        return None
    if not confirmed:
        await positions.referrers_compared(*place, HELD, now)
    return WentBack(held=not confirmed)


async def repositories(edge: Replication, source: Registry, call: Call, positions: Positions) -> AsyncIterator[str]:
    """What an edge replicates: every repository of the source, then those that it showed once and shows no more."""
    former = await positions.compared(edge.id, edge.targets)
    async for repository in every(lambda after: source.repositories(call, after=after)):
        former.discard(repository)
        if matches(repository, edge.repositories):
            yield repository
    for repository in sorted(former):
        if matches(repository, edge.repositories):
            yield repository


def reverse(edge: Replication, giver: str) -> Replication:
    """The edge from one of its targets to its source, which deletes nothing; for a Replicator with ``refill``.
    Raises Refused (NOT_A_TARGET)."""
    if giver not in edge.targets:
        targets = ", ".join(edge.targets)
        raise Refused("NOT_A_TARGET", f"{edge.id} does not replicate to {giver}", f"its targets: {targets}")
    changed = {"id": f"{edge.id}:from:{giver}", "source": giver, "targets": (edge.source,), "deletes": "never"}
    return edge.model_copy(update=changed)
