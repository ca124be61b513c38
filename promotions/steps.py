"""The steps of a promotion, in order. Each takes the run, does what its state asks for, and says where that leads.

A step may run again after a crash: it looks before it acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from oci_wire.extension import TagChange
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from promotions import attest, failpoints, freezes, plan
from promotions.check import Check
from promotions.commit import Committer
from promotions.former import FormerNames
from promotions.gates import Answer, Question, Verdict, ask
from promotions.hold import Holding
from promotions.keys import PrivateKey, load_private, password
from promotions.ledger import Ledger
from promotions.progress import Watch, unwatched
from promotions.retry import RetryPolicy
from promotions.states import State
from promotions.store import PromotionRow, Store
from promotions.transfer import Closure, Transfer, current, read_closure
from topology.model import KeyTrust, Promotion, Topology
from topology.secrets import SecretUnreadable
from topology.secrets import read as read_secret

ACTOR = "towpath-engine"


class CannotAttest(Exception):
    """The edge asks for evidence of ours, and the key for it cannot be used."""


@dataclass(slots=True)
class Run:
    """One promotion being worked on by this process, and what it needs. ``row`` is replaced as states change."""

    topology: Topology
    store: Store
    ledger: Ledger
    retry: RetryPolicy
    pinned: plan.Plan
    row: PromotionRow
    now: Callable[[], float]
    call: Call = field(default_factory=lambda: Call(ACTOR))
    watch: Watch = unwatched
    patience: float = 7 * 24 * 3600.0  # seconds that a promotion may wait
    asked: bool = False  # whether the gates were asked in this run
    closure: Closure | None = None
    holding: Holding | None = None  # what must not be collected at the target meanwhile

    @property
    def committer(self) -> Committer:
        return Committer(self.pinned.target, self.retry, self.call, f"{ACTOR}:{self.row.requester}", self.now)

    @property
    def binding(self) -> str:
        return plan.binding(self.topology, self.pinned.edge, self.row.digest)

    async def whole(self) -> Closure:
        """The image's closure at the source, read once in a run."""
        if self.closure is None:
            self.closure = await read_closure(self.pinned.source, self.call, self.pinned.manifest.digest)
        return self.closure

    async def hold(self, more: Iterable[str] = ()) -> None:
        """No collection at the target takes what has arrived, or is about to, before its tags show it."""
        if self.holding is not None:
            links = (await self.whole()).links
            await self.holding.add([*(str(each.descriptor.digest) for each in links), *more])


@dataclass(frozen=True, slots=True)
class Arrival:
    """The state that a step leads to, what changes in the row, and whether this run stops there for now."""

    state: State
    changes: dict[str, Any] = field(default_factory=dict)
    stop: bool = False


async def pin(run: Run) -> Arrival:
    """REQUESTED: what the target's tags show now is written down; conflicts are said before anything is copied."""
    target, digest = run.pinned.target, run.row.digest
    expected = await plan.expectations(target, run.call, tuple(run.row.tags))
    conflicts = plan.immutable_conflicts(run.topology, target, expected, digest)
    if conflicts:
        remedy = "an immutable tag never moves: promote under another tag"
        return Arrival(State.FAILED, {"code": "CONFLICT", "reasons": conflicts, "remedy": remedy})
    return Arrival(State.PINNED, {"expected": expected})


async def begin(_: Run) -> Arrival:
    """PINNED: on to the gates."""
    return Arrival(State.GATING)


async def gate(run: Run) -> Arrival:
    """GATING: every gate of the edge is asked. One refusal ends it; holds are waited for."""
    verdicts = await verdicts_of(run)
    run.asked = True
    changes = {"verdicts": [each.to_json() for each in verdicts], "binding": run.binding}
    refused = [each for each in verdicts if each.answer is Answer.REFUSE]
    if not refused:
        return Arrival(State.WAITING, changes)
    reasons = [f"gate {each.gate}: {reason}" for each in refused for reason in each.reasons]
    remedy = "; ".join(each.remedy for each in refused if each.remedy)
    return Arrival(State.REJECTED, changes | {"code": "GATE_REFUSED", "reasons": reasons, "remedy": remedy})


async def verdicts_of(run: Run) -> list[Verdict]:
    source, digest = run.pinned.source, run.pinned.manifest.digest
    return [await ask(Question(name, run.topology, source, digest, run.call)) for name in run.pinned.edge.gates]


async def wait(run: Run) -> Arrival:
    """WAITING: goes on at once when nothing holds it. Verdicts of an earlier run are asked for again first."""
    if run.now() - run.row.asked_at > run.patience:
        reason = f"it waited longer than {run.patience / 3600:.0f} h"
        return Arrival(State.EXPIRED, {"code": "EXPIRED", "reasons": [reason], "remedy": "ask again"})
    if not _verdicts_hold(run):
        return Arrival(State.GATING)
    reasons = waiting_for(run)
    if reasons:
        return Arrival(State.WAITING, {"code": "WAITING", "reasons": reasons}, stop=True)
    return Arrival(State.COPYING, {"code": None, "reasons": None})


def waiting_for(run: Run) -> list[str]:
    """Holds and freezes, in words."""
    verdicts = [Verdict.from_json(each) for each in run.row.verdicts or []]
    held = [f"gate {each.gate}: {why}" for each in verdicts if each.answer is Answer.HOLD for why in each.reasons]
    return held + list(freezes.holding(run.topology, run.pinned.edge.id, run.now()))


def _verdicts_hold(run: Run) -> bool:
    return run.asked and run.row.binding == run.binding


async def copy(run: Run) -> Arrival:
    """COPYING: the closure, then our attestation, whose bytes are in the row before they are sent."""
    closure = await run.whole()
    await run.hold()
    transfer = Transfer(run.pinned.source, run.pinned.target, run.retry, run.call, run.watch)
    await transfer.copy(closure)
    evidence = await _evidence(run)
    if evidence is not None:
        await run.hold(evidence.digests)
        await run.retry(lambda: attest.push(run.pinned.target, run.call, evidence))
        failpoints.reached(failpoints.Window.EVIDENCE_SENT)
    return Arrival(State.EVIDENCED)


async def _evidence(run: Run) -> attest.Evidence | None:
    edge, row = run.pinned.edge, run.row
    if edge.attest_with is None:
        return None
    if row.evidence is None or row.evidence_manifest is None:
        made = attest.make(_attesting_key(run, edge.attest_with), run.pinned.manifest.descriptor, _summary(run))
        run.row = await run.store.keep(row, evidence=made.blob, evidence_manifest=made.manifest.content)
        return made
    return attest.Evidence.from_row(row.evidence, row.evidence_manifest)


def _summary(run: Run) -> dict[str, Any]:
    target, edge = run.pinned.target, run.pinned.edge
    return attest.summary(
        resource=f"towpath:{target}@{run.row.digest}",
        policy=f"towpath:{run.topology.metadata.name}/{edge.id}",
        binding=run.row.binding or run.binding,
        verdicts=[Verdict.from_json(each) for each in run.row.verdicts or []],
        at=run.now(),
        promotion=run.row.id,
    )


def _attesting_key(run: Run, name: str) -> PrivateKey:
    entry = run.topology.trust.get(name)
    if not isinstance(entry, KeyTrust) or entry.private_key is None:
        raise CannotAttest(f"attestWith: trust {name!r} has no privateKey to sign with")
    try:
        content = read_secret(entry.private_key, run.topology.base)
    except SecretUnreadable as error:
        raise CannotAttest(f"attestWith: the private key of {name!r}: {error}") from None
    return load_private(content, password())


async def check(run: Run) -> Arrival:
    """EVIDENCED: all of it is read back from the target."""
    await run.hold()
    looking = Check(run.pinned.target, run.retry, run.call, run.watch)
    await looking.whole(await run.whole())
    if run.row.evidence is not None and run.row.evidence_manifest is not None:
        await looking.evidence(attest.Evidence.from_row(run.row.evidence, run.row.evidence_manifest))
    return Arrival(State.CHECKED)


async def commit(run: Run) -> Arrival:
    """CHECKED: the tags, in one step. A commit whose answer was lost is read back by its id first."""
    committer = run.committer
    receipt = await committer.landed(run.row.id)
    if receipt is None:
        if not _verdicts_hold(run):
            return Arrival(State.GATING)
        if waiting_for(run):
            return Arrival(State.WAITING)
        await run.hold()
        expected = run.row.expected or {}
        changes = plan.changes(expected, run.row.digest)
        changes += await _former(run, changes) + await _cosign_changes(run)
        floating = plan.floating(run.topology, run.pinned.target, tuple(expected))
        receipt = await committer.commit(run.row.id, changes, floating=floating)
    failpoints.reached(failpoints.Window.COMMIT_SENT)
    return Arrival(State.COMMITTED, {"receipt": receipt})


async def _former(run: Run, changes: tuple[TagChange, ...]) -> tuple[TagChange, ...]:
    """What the tags showed before keeps a name, where the scope says so."""
    names = FormerNames.of(run.topology, run.pinned.target.scope)
    return await names.changes(run.pinned.target, run.call, changes, run.now())


async def _cosign_changes(run: Run) -> tuple[TagChange, ...]:
    """cosign's signature tags travel with the image's own, in the same step."""
    found = []
    for tag, digest in sorted((await run.whole()).tags.items()):
        shown = await current(run.pinned.target, run.call, tag)
        if shown != str(digest):
            found.append(TagChange(tag=tag, expect=shown, to=str(digest)))
    return tuple(found)


async def settle(run: Run) -> Arrival:
    """COMMITTED: the ledger first, then the row; the same record is never written twice."""
    body = ledger_body(run.topology, run.pinned.edge, run.row)
    await asyncio.to_thread(run.ledger.append, "promotion", run.row.id, body)
    failpoints.reached(failpoints.Window.LEDGERED)
    return Arrival(State.SETTLED)


def ledger_body(topology: Topology, edge: Promotion, row: PromotionRow) -> dict[str, Any]:
    """What the ledger keeps of a promotion."""
    evidence = row.evidence_manifest
    return {
        "promotion": row.id,
        "edge": edge.id,
        "source": {"scope": edge.source, "node": topology.primary_name(edge.source)},
        "target": {"scope": edge.target, "node": topology.primary_name(edge.target)},
        "repository": row.repository,
        "digest": row.digest,
        "reference": row.reference,
        "tags": row.tags,
        "requester": row.requester,
        "how": row.how,
        "asked_at": row.asked_at,
        "verdicts": row.verdicts or [],
        "binding": row.binding,
        "evidence": str(Manifest.parse(evidence).digest) if evidence else None,
        "receipt": row.receipt or {},
    }


STEPS: dict[State, Callable[[Run], Awaitable[Arrival]]] = {
    State.REQUESTED: pin,
    State.PINNED: begin,
    State.GATING: gate,
    State.WAITING: wait,
    State.COPYING: copy,
    State.EVIDENCED: check,
    State.CHECKED: commit,
    State.COMMITTED: settle,
}
