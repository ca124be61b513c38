"""Following a node's events: what changes at the source of a replication is at its targets soon after.

The position is kept, so nothing is skipped over a restart. Events are hints: what failed is tried again, and a
reconcile at a declared interval finds whatever no event told of.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from identity.grants import matches
from oci_wire.errors import Gone, RegistryError
from oci_wire.extension import Event
from oci_wire.registry import Call
from promotions.database import DatabaseUnusable
from promotions.late import Attached
from promotions.outcome import Refused
from promotions.positions import Positions
from promotions.refill import HELD
from promotions.replicate import ACTOR, ReplicationReport, Replicator
from topology.model import Replication

LOG = logging.getLogger("towpath.replication")
WAIT_SECONDS = 15.0  # of one long poll
AGAIN_SECONDS = 2.0  # after a source that did not answer, or a target that failed


@dataclass(slots=True)
class Follower:
    """Follows one replication edge until it is told to stop."""

    replicator: Replicator
    edge: Replication
    wait: float = WAIT_SECONDS
    again: float = AGAIN_SECONDS
    _failed: set[str] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Raises nothing that a registry can cause: it says so in the log and tries again."""
        while not stop.is_set():
            try:
                await self.once()
                pause = self.again if self._failed else 0.0
            except RegistryError as error:
                LOG.warning("%s: %s does not answer: %s", self.edge.id, self.edge.source, error.message)
                pause = self.again
            except (DatabaseUnusable, OSError) as error:  # what follows the others must not end for it
                LOG.error("%s: %s", self.edge.id, error)
                pause = max(self.again, 30.0)
            except Refused as error:
                LOG.error("%s: %s", self.edge.id, error.reason)
                pause = max(self.again, 30.0)
            await _sleep(stop, pause)

    async def once(self) -> list[ReplicationReport]:
        """Applies the events there are, or waits for some; the first time, and after a gap, compares everything."""
        positions = Positions(self.replicator.store)
        after = await positions.position(self.edge.id, self.edge.source)
        if after is None:
            return await self._compare(positions)
        try:
            events = await self._events(after, 0.0 if self._failed else self.wait)
        except Gone:
            return await self._compare(positions, after)
        attached = _attached(events)
        reports = [await self._apply(each, attached.get(each)) for each in self._touched(events)]
        if events:
            await positions.move(self.edge.id, self.edge.source, events[-1].position)
        return reports

    async def _events(self, after: int, wait: float) -> list[Event]:
        registry = self.replicator.registries.place(self.edge.source, "any").registry
        return [event async for event in registry.events(Call(ACTOR), after=after, wait=wait)]

    def _touched(self, events: list[Event]) -> list[str]:
        """Repositories to look at, each once, in the order of their first event; then those that failed before."""
        names = [each.repository for each in events if each.kind in ("tag", "manifest")]
        names = [each for each in dict.fromkeys(names) if matches(each, self.edge.repositories)]
        return names + sorted(self._failed - set(names))

    async def _compare(self, positions: Positions, before: int = 0) -> list[ReplicationReport]:
        """The newest position first, then everything: what changes meanwhile is an event after it. ``before``: how far
        events were applied; a source whose newest lies before that is another one, however busy its repositories are."""
        position = await self._newest()
        if position < before:
            await positions.all_compared(self.edge.id, HELD)
        reports = [report async for report in self.replicator.everything(self.edge)]
        for report in reports:
            self._remember(report)
        await positions.move(self.edge.id, self.edge.source, position)
        return reports

    async def _newest(self) -> int:
        """Where events stand now: read to the end, or as a node says that keeps only later ones. Raises RegistryError."""
        position = 0
        while True:
            try:
                events = await self._events(position, 0.0)
            except Gone as error:
                known = error.detail if isinstance(error.detail, dict) else {}
                return int(known.get("position", 0))
            if not events:
                return position
            position = events[-1].position

    async def _apply(self, repository: str, attached: Attached | None) -> ReplicationReport:
        report = await self.replicator.repository(self.edge, repository, attached=attached)
        self._remember(report)
        self._against_promise(report)
        return report

    def _against_promise(self, report: ReplicationReport) -> None:
        promised = self.edge.lag.total_seconds() if self.edge.lag else None
        for target in report.targets:
            if promised is not None and target.lag is not None and target.lag > promised:
                told = f"{target.lag:.0f} s after the push, {promised:.0f} s are promised"
                LOG.warning("%s: %s came to %s %s", self.edge.id, report.repository, target.node, told)

    def _remember(self, report: ReplicationReport) -> None:
        if report.whole:
            self._failed.discard(report.repository)
            return
        self._failed.add(report.repository)
        for target in report.targets:
            if target.problem:
                LOG.warning("%s: %s: %s", self.edge.id, report.repository, target.problem)


def _attached(events: list[Event]) -> dict[str, Attached]:
    """What these events say of each repository."""
    found: dict[str, list[Event]] = {}
    for each in events:
        found.setdefault(each.repository, []).append(each)
    return {name: _of_one(some) for name, some in found.items()}


def _of_one(events: list[Event]) -> Attached:
    manifests = frozenset(each.digest for each in events if each.kind == "manifest" and each.digest is not None)
    return Attached(events[0].rev, events[-1].rev, manifests)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
