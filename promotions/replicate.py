"""Replication: the same scope, the same digests, another node. Closures first, then tags; never a tag before its closure.

Tag sets are compared in pages, so what has not changed costs pages. Each change of tags is a transaction whose id is
made of what it does: sent twice, it lands once, and a crash between tags and ledger is made up for.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import rfc8785

from identity.grants import matches
from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.extension import TagChange, TagState
from oci_wire.registry import Call
from promotions.check import Check, TargetIncomplete
from promotions.commit import Committer, NotShown, TagConflict, in_transactions
from promotions.former import FormerNames
from promotions.hold import Holding
from promotions.late import Attached, Late, source_rev
from promotions.ledger import Ledger, LedgerBroken
from promotions.outcome import Refused
from promotions.pace import Pace
from promotions.place import Place
from promotions.plan import Registries
from promotions.positions import Positions, Replicated, Unledgered
from promotions.progress import Watch, unwatched
from promotions.refill import WentBack, repositories, went_back
from promotions.retry import RetryPolicy
from promotions.store import Store
from promotions.tag_sets import Difference, TagSet, read_tags
from promotions.tags import TagsUnclear
from promotions.transfer import Closure, SourceIncomplete, Transfer, read_closure
from topology.model import ExternalNode, LocalNode, Replication, Topology

ACTOR = "towpath-engine"
MANY = 10  # deletions in one repository that nobody is asked about, whatever their share
MOST_PERCENT = 50.0  # of a target's tags: more deletions than that at once wait for a person
TRASH_SECONDS = 30 * 24 * 3600.0
_PROBLEMS = (
    RegistryError,
    TagConflict,
    NotShown,
    TagsUnclear,
    SourceIncomplete,
    TargetIncomplete,
    LedgerBroken,
    OSError,
)


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What happened at one target. ``lag``: seconds from the oldest push that moved to a whole closure here."""

    node: str
    moved: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    sent: int = 0  # bytes of blobs
    lag: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ReplicationReport:
    replication: str
    repository: str
    targets: tuple[TargetReport, ...]

    @property
    def whole(self) -> bool:
        return not any(each.problem for each in self.targets)

    def __str__(self) -> str:
        """``2 of 3 nodes``, the source counted."""
        done = 1 + sum(not each.problem for each in self.targets)
        return f"{self.repository}: {done} of {len(self.targets) + 1} nodes"


@dataclass(frozen=True, slots=True)
class Replicator:
    """Replicates over the edges of a topology. ``confirm``: a person said yes to many deletions. ``refill``: a target gets
    the tags that it has not, and keeps those that it has."""

    topology: Topology
    registries: Registries
    store: Store
    ledgers: Path
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    now: Callable[[], float] = time.time
    watch: Watch = unwatched
    confirm: bool = False
    refill: bool = False

    async def repository(
        self, edge: Replication, repository: str, *, attached: Attached | None = None
    ) -> ReplicationReport:
        """Brings one repository of an edge to all its targets. What goes wrong at one does not stop the others.

        ``attached``: the manifests that events named; None: not known, so referrers are compared when the source's rev
        has grown.
        Raises Refused (NOT_BUILT, REPOSITORY_NOT_ON_EDGE) and, when the source cannot be read, RegistryError."""
        check_built(edge)
        if not matches(repository, edge.repositories):
            raise Refused("REPOSITORY_NOT_ON_EDGE", f"{edge.id} does not replicate {repository}")
        call = Call(ACTOR)
        source, pace = self.registries.place(edge.source, repository), Pace(edge.bandwidth)
        rev = await self.retry(
            lambda: source_rev(source, call)
        )  # before the tags: what comes meanwhile is looked at again
        tags = await self.retry(lambda: read_tags(source, call))
        wanted = {tag: each for tag, each in (tags or {}).items() if matches(tag, edge.tags.globs)}
        work = (
            self._target(edge, source, None if tags is None else wanted, each, _Way(call, pace, rev, attached))
            for each in edge.targets
        )
        return ReplicationReport(edge.id, repository, tuple(await asyncio.gather(*work)))

    async def everything(self, edge: Replication) -> AsyncIterator[ReplicationReport]:
        """Reconciles: every repository of the source, page by page; then those that it showed once and shows no more."""
        source = self.registries.place(edge.source, "any").registry
        async for repository in repositories(edge, source, Call(ACTOR), Positions(self.store)):
            yield await self.repository(edge, repository)

    async def _target(
        self, edge: Replication, source: Place, wanted: TagSet | None, node: str, way: _Way
    ) -> TargetReport:
        try:
            target = self.registries.place(node, source.name)
            async with self.store.claimed(f"{edge.id}/{node}/{source.name}"):
                report = await _One(self, edge, source, target, way).bring(wanted)
        except Refused as error:
            report = TargetReport(node, problem=error.reason)
        except _PROBLEMS as error:
            report = TargetReport(node, problem=f"{node}: {error}")
        row = Replicated(edge.id, node, source.name, self.now(), report.lag, report.problem or None)
        await Positions(self.store).note(row)
        return report


@dataclass(frozen=True, slots=True)
class _Way:
    """On whose behalf, and how fast: all targets share the cap of their edge. What is known of late evidence."""

    call: Call
    pace: Pace
    rev: int | None
    attached: Attached | None


@dataclass(frozen=True, slots=True)
class _One:
    """One repository to one target."""

    all: Replicator
    edge: Replication
    source: Place
    target: Place
    way: _Way

    @property
    def call(self) -> Call:
        return self.way.call

    @property
    def positions(self) -> Positions:
        return Positions(self.all.store)

    @property
    def committer(self) -> Committer:
        return Committer(self.target, self.all.retry, self.call, f"{ACTOR}:{self.edge.id}", self.all.now)

    async def bring(self, wanted: TagSet | None) -> TargetReport:
        """``wanted`` None: the source shows no such repository."""
        await self._make_up()
        there = await self.all.retry(lambda: read_tags(self.target, self.call)) or {}
        difference = Difference.between(wanted or {}, there)
        if self.all.refill:
            difference = difference.only_new(there)
        gone = () if self.edge.deletes == "never" else self._not_former(difference.gone)
        back = await self._went_back(gone)
        async with self._holding() as hold:
            sent, broken = await self._copy({each.digest for each in difference.moved}, hold)
            moved = tuple(each for each in difference.moved if each.digest not in broken)
            newest = max((each.pushed for each in moved), default=0.0)
            for changes in in_transactions(await self._moves(moved, there)):  # together, as they were set
                await self._commit(changes, newest or None)
            sent += await self._late({each.digest for each in (wanted or {}).values()} - set(broken), hold, back)
        deleted, problem = await self._delete(gone, there, back, absent=wanted is None)
        lag = max((self.all.now() - each.pushed for each in moved if each.pushed), default=None)
        problem = "; ".join(filter(None, (*broken.values(), problem)))
        return TargetReport(self.target.node, tuple(each.tag for each in moved), deleted, sent, lag, problem)

    @property
    def former(self) -> FormerNames:
        return FormerNames.of(self.all.topology, self.target.scope)

    def _not_former(self, gone: tuple[TagState, ...]) -> tuple[TagState, ...]:
        return tuple(each for each in gone if not self.former.names(each.tag, each.digest))

    async def _went_back(self, gone: tuple[TagState, ...]) -> WentBack | None:
        """When the source counts fewer changes than were compared: it is not what it was."""
        confirmed = self.all.confirm or not gone
        place = (self.edge.id, self.target.node, self.source.name)
        return await went_back(self.positions, place, self.way.rev, confirmed, self.all.now())

    async def _moves(self, states: tuple[TagState, ...], there: TagSet) -> tuple[TagChange, ...]:
        """Former digests keep a name first, where the scope says so."""
        moves = _moves(states, there)
        return (*await self.former.changes(self.target, self.call, moves, self.all.now()), *moves)

    def _holding(self) -> Holding:
        reason = f"replication {self.edge.id}"
        return Holding(self.target, self.all.retry, self.call, f"rp:{self.edge.id}", reason, self.all.now)

    async def _copy(self, digests: Iterable[str], hold: Holding) -> tuple[int, dict[str, str]]:
        """Closures, read back before any tag shows them. Bytes sent, and why which digests could not be brought: one
        image that is broken at the source keeps no other back."""
        sent, broken = 0, dict[str, str]()
        for digest in sorted(digests):
            try:
                sent += await self._bring(await read_closure(self.source, self.call, Digest.parse(digest)), hold)
            except (SourceIncomplete, TargetIncomplete) as error:
                broken[digest] = f"{self.target.node}: {error}"
        return sent, broken

    async def _bring(self, closure: Closure, hold: Holding) -> int:
        await hold.add(str(each.descriptor.digest) for each in closure.links)
        transfer = Transfer(self.source, self.target, self.all.retry, self.call, self.all.watch, pace=self.way.pace)
        await transfer.copy(closure)
        await Check(self.target, self.all.retry, self.call, self.all.watch).whole(closure)
        return transfer.sent

    async def _late(self, images: set[str], hold: Holding, back: WentBack | None) -> int:
        """Evidence that was attached after its image had come. Bytes sent. A source that went back, and that nothing is
        held back for, begins anew."""
        if self.way.rev is None:  # a registry that counts no revs: each look would cost a request an image
            return 0
        place = (self.edge.id, self.target.node, self.source.name)
        compared = await self.positions.referrers_rev(*place) if back is None or back.held else None
        told = self.way.attached if self.way.attached and self.way.attached.follows(compared) else None
        rev = told.last if told else self.way.rev
        if compared is not None and compared >= rev:
            return 0
        late, sent = Late(self.source, self.target, self.call), 0
        for subject in sorted(await (late.named(told.manifests) if told else late.about(images)), key=str):
            closure = await read_closure(self.source, self.call, subject)
            sent += await self._bring(replace(closure, needed=()), hold)
        await self.positions.referrers_compared(*place, rev, self.all.now())
        return sent

    async def _commit(self, changes: tuple[TagChange, ...], origin_time: float | None) -> None:
        txid = self._txid(changes, origin_time)
        body: dict[str, Any] = {
            "replication": self.edge.id,
            "source": self._end(self.source),
            "target": self._end(self.target),
        }
        body |= {"repository": self.source.name, "origin_time": origin_time}
        record = Unledgered(txid, {**body, "changes": [each.model_dump(mode="json") for each in changes]})
        await self.positions.sending(self.edge.id, self.target.node, self.source.name, record)
        receipt = await self.committer.commit(txid, changes, origin_time=origin_time)
        await self._ledger(record, receipt)

    async def _make_up(self) -> None:
        """Changes of an earlier run that landed without their ledger record get it; those that did not are let go."""
        for record in await self.positions.unledgered(self.edge.id, self.target.node, self.source.name):
            receipt = await self.committer.landed(record.txid)
            if receipt is not None:
                await self._ledger(record, receipt)
            else:
                await self.positions.ledgered(record.txid)

    async def _ledger(self, record: Unledgered, receipt: dict[str, Any]) -> None:
        ledger = Ledger.of_scope(self.all.ledgers, self.target.scope or self.source.scope)
        await asyncio.to_thread(ledger.append, "replication", record.txid, {**record.body, "receipt": receipt})
        await self.positions.ledgered(record.txid)

    def _txid(self, changes: tuple[TagChange, ...], origin_time: float | None) -> str:
        what: dict[str, Any] = {
            "edge": self.edge.id,
            "target": self.target.node,
            "repository": self.target.repository,
            "changes": [each.model_dump(mode="json") for each in changes],
            "origin": origin_time,
        }
        return f"rp_{hashlib.sha256(rfc8785.dumps(what)).hexdigest()[:48]}"

    @staticmethod
    def _end(place: Place) -> dict[str, str]:
        return {"scope": place.scope, "node": place.node}

    async def _delete(
        self, gone: tuple[TagState, ...], there: TagSet, back: WentBack | None, *, absent: bool
    ) -> tuple[tuple[str, ...], str]:
        """The tags that were removed, and why others were not."""
        if not gone:
            return (), ""
        if absent:  # deleted, or hidden from us: the two look alike
            return (), f"{self.source.node} shows no repository {self.source.name}; nothing is deleted for that"
        if back is not None and back.held:
            return (), back.told(self.edge, self.source, self.target.node, len(gone), len(there))
        share = 100.0 * len(gone) / len(there)
        if len(gone) > MANY and share > MOST_PERCENT and not self.all.confirm:
            shown = f"{len(gone)} of {len(there)} tags ({share:.0f} %)"
            return (), f"would delete {shown} at {self.target.node}: look first, then run with --confirm"
        until = self.all.now() + TRASH_SECONDS if self.edge.deletes == "trash" else None
        removals = tuple(TagChange(tag=each.tag, expect=each.digest, to=None, trash_until=until) for each in gone)
        for changes in in_transactions(removals):
            await self._commit(changes, None)
        return tuple(each.tag for each in gone), ""


def check_built(edge: Replication) -> None:
    """Raises Refused (NOT_BUILT) for what the language has and the engine has not."""
    missing = [name for name in ("semver", "newest") if getattr(edge.tags, name) is not None]
    if missing:
        names = " and ".join(f"tags.{each}" for each in missing)
        raise Refused(
            "NOT_BUILT", f"replication {edge.id}: {names} is not built yet", "list the tags as globs", failed=True
        )


def replications_of(topology: Topology, scope: str) -> tuple[Replication, ...]:
    """The replications that start at a node of this scope."""
    nodes = {
        name
        for name, node in topology.nodes.items()
        if isinstance(node, LocalNode | ExternalNode) and node.scope == scope
    }
    return tuple(each for each in topology.replications if each.source in nodes)


def _moves(states: Iterable[TagState], there: TagSet) -> tuple[TagChange, ...]:
    return tuple(
        TagChange(tag=each.tag, expect=there[each.tag].digest if each.tag in there else None, to=each.digest)
        for each in states
    )
