"""The promotion engine: one request in, one outcome out; killed at any point, the same request goes on from there.

    find the edge -> may they ask -> pin (resolve once) -> one live row for one request -> the steps of ``steps.py``

A dry run is the same way, stopping after the gates and writing nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from identity.grants import Principal
from oci_wire.errors import RegistryError
from oci_wire.registry import Call
from promotions import plan, steps
from promotions.check import TargetIncomplete
from promotions.commit import Committer, NotShown, TagConflict
from promotions.dry_run import dry_run as plan_only
from promotions.ending import outcome_of
from promotions.failures import before_a_row, failure, unwritable
from promotions.hold import Holding
from promotions.keys import KeyInvalid
from promotions.ledger import Ledger, LedgerBroken
from promotions.outcome import Ending, Outcome, Refused, Request
from promotions.progress import Entered, Watch, unwatched
from promotions.retry import RetryPolicy
from promotions.states import UNCOMMITTED, State
from promotions.steps import ACTOR, CannotAttest, Run
from promotions.store import PromotionRow, Store, new_id, request_key
from promotions.tags import TagsUnclear
from promotions.transfer import SourceIncomplete, current
from topology.identities import principal
from topology.model import Promotion, Topology

_NOTHING_WRONG: dict[str, Any] = {"code": None, "reasons": None, "remedy": None}
_STEP_ERRORS = (
    RegistryError,
    TagConflict,
    NotShown,
    TagsUnclear,
    SourceIncomplete,
    TargetIncomplete,
    CannotAttest,
    KeyInvalid,
)


@dataclass(slots=True)
class Engine:
    """``ledgers`` is the folder of the scopes' ledgers; ``patience`` how long a promotion may wait, in seconds."""

    topology: Topology
    registries: plan.Registries
    store: Store
    ledgers: Path
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    now: Callable[[], float] = time.time
    patience: float = 7 * 24 * 3600.0

    async def promote(
        self, request: Request, who: Principal, *, dry_run: bool = False, watch: Watch = unwatched
    ) -> Outcome:
        """Promotes, or says why not. Raises nothing that a request can cause; errors of registries are outcomes."""
        call = Call(ACTOR)
        known: dict[str, Any] = {"repository": request.repository, "source": request.source, "target": request.target}
        try:
            edge = plan.find_edge(self.topology, request)
            known |= {"edge": edge.id, "source": edge.source, "target": edge.target}
            plan.check_allowed(edge, who, request.repository)
            pinned = await self.retry(
                lambda: plan.make(self.topology, self.registries, edge, request, call=call, now=self.now())
            )
            if dry_run:
                return await plan_only(self.topology, pinned, call, self.now())
            return await self._promote(pinned, request, who, call, watch)
        except Refused as refusal:
            outcome = refusal.outcome(**known)
            return outcome if dry_run else await self._refused(outcome, request, who)
        except RegistryError as error:
            return before_a_row(error, known)

    async def resume(self, promotion: str, *, watch: Watch = unwatched) -> Outcome:
        """Goes on with a promotion that was asked for before; whoever runs it now is waited for.

        Raises LookupError when there is none of this id."""
        async with self.store.claimed(promotion):
            return await self._resume(promotion, watch)

    async def resume_unclaimed(self, promotion: str) -> Outcome | None:
        """As ``resume``; None when somebody runs it now."""
        async with self.store.claimed_at_once(promotion) as ours:
            return await self._resume(promotion, unwatched) if ours else None

    async def _resume(self, promotion: str, watch: Watch) -> Outcome:
        row = await self._known(promotion)
        edge = self.topology.edge(row.edge)
        if row.state.ended or edge is None:
            return outcome_of(row, edge)
        call = Call(ACTOR)
        try:
            pinned = await self.retry(lambda: self._pinned_again(edge, row, call))
        except Refused as refusal:
            return outcome_of(await self._end(row, edge, refusal), edge)
        except RegistryError as error:
            return before_a_row(error, {"edge": edge.id, "promotion": row.id, "repository": row.repository})
        return await self._run(self._run_of(row, pinned, call, watch))

    async def _pinned_again(self, edge: Promotion, row: PromotionRow, call: Call) -> plan.Plan:
        """Once the tags have changed, neither a source that is gone nor a right that was taken away undoes it.

        Raises Refused (SOURCE_UNKNOWN, NOT_ALLOWED, EXPIRED ...), RegistryError."""
        if await self._landed(edge, row, call):
            return await plan.from_row(self.topology, self.registries, edge, row, call, at_target=True)
        if row.state is State.ERRORED and self.now() - row.asked_at > self.patience:
            reason = f"it could not be done within {self.patience / 3600:.0f} h"
            raise Refused("EXPIRED", "; ".join([reason, *(row.reasons or ())]), "ask again")
        plan.check_allowed(edge, self._requester(row), row.repository)
        return await plan.from_row(self.topology, self.registries, edge, row, call)

    def _requester(self, row: PromotionRow) -> Principal:
        """With the groups that they have now."""
        if row.requester not in self.topology.users:
            return Principal(row.requester if row.requester not in self.topology.groups else "", how=row.how)
        return principal(self.topology, row.requester, row.how)

    async def _landed(self, edge: Promotion, row: PromotionRow, call: Call) -> bool:
        state = row.resume if row.state is State.ERRORED else row.state
        if state is not State.CHECKED:
            return state is State.COMMITTED
        target = self.registries.place(self.topology.primary_name(edge.target), row.repository)
        return await Committer(target, self.retry, call, ACTOR, self.now).landed(row.id) is not None

    async def _end(self, row: PromotionRow, edge: Promotion, why: Refused) -> PromotionRow:
        """Nobody can go on with it: the ledger says so, then the row. Raises LedgerBroken, OSError."""
        state = State.EXPIRED if why.code == "EXPIRED" else State.FAILED
        changes = {"code": why.code, "reasons": [why.reason], "remedy": why.remedy}
        body = steps.ledger_body(self.topology, edge, row) | {"code": why.code, "reasons": [why.reason]}
        ledger = Ledger.of_scope(self.ledgers, edge.target)
        await asyncio.to_thread(ledger.append, "refusal", f"{row.id}:{state}", body)
        return await self.store.enter(row, state, **changes)

    async def abort(self, promotion: str, who: Principal) -> Outcome:
        """Stops a promotion whose tags have not changed. Raises LookupError when there is none of this id."""
        async with self.store.claimed(promotion):
            row = await self._known(promotion)
            at = row.resume if row.state is State.ERRORED else row.state
            if at in UNCOMMITTED:
                changes = {"code": "ABORTED", "reasons": [f"aborted by {who.name or 'somebody'}"]}
                row = await self.store.enter(row, State.ABORTED, **changes)
            return outcome_of(row, self.topology.edge(row.edge))

    async def _known(self, promotion: str) -> PromotionRow:
        row = await self.store.get(promotion)
        if row is None:
            raise LookupError(f"no promotion {promotion}")
        return row

    async def _promote(self, pinned: plan.Plan, request: Request, who: Principal, call: Call, watch: Watch) -> Outcome:
        key = request_key(pinned.edge.id, request.repository, pinned.digest, pinned.tags, request.intent)
        row = await self.store.live_of(key)  # one that is not settled yet goes on, also when its tags show already
        while row is None:
            done = await self.store.settled(key)
            if done is not None and await self._still_shows(pinned, done, call):
                return outcome_of(done, pinned.edge, Ending.NOTHING_TO_DO)
            row = await self.store.request(self._row(key, pinned, request, who), done.id if done else None)
        watch(Entered(row.id, row.state))
        await self._settle_older(row, pinned, call)
        async with self.store.claimed(row.id):
            fresh = await self.store.get(row.id)
            assert fresh is not None
            return await self._run(self._run_of(fresh, pinned, call, watch))

    def _row(self, key: str, pinned: plan.Plan, request: Request, who: Principal) -> PromotionRow:
        now = self.now()
        return PromotionRow(
            id=new_id(),
            request_key=key,
            edge=pinned.edge.id,
            repository=request.repository,
            reference=request.reference,
            digest=pinned.digest,
            tags=list(pinned.tags),
            intent=request.intent,
            requester=who.name,
            how=who.how,
            asked_at=now,
            state=State.REQUESTED,
            state_at=now,
        )

    def _run_of(self, row: PromotionRow, pinned: plan.Plan, call: Call, watch: Watch) -> Run:
        ledger = Ledger.of_scope(self.ledgers, pinned.edge.target)
        return Run(self.topology, self.store, ledger, self.retry, pinned, row, self.now, call, watch, self.patience)

    async def _still_shows(self, pinned: plan.Plan, done: PromotionRow, call: Call) -> bool:
        """Whether the target has what the settled promotion brought: every tag, and the closure where it can say."""
        target = pinned.target
        for tag in done.tags:
            if await current(target, call, tag) != done.digest:
                return False
        if await target.registry.features(call) is None:
            return True
        return (await target.registry.closure(call, target.repository, pinned.manifest.digest)).complete

    async def _settle_older(self, row: PromotionRow, pinned: plan.Plan, call: Call) -> None:
        """Older live promotions of the same tags: given up when the target is untouched, else finished first.

        Only younger ones wait for older ones, so nobody waits in a circle."""
        for older in await self.store.live(edge=row.edge, repository=row.repository):
            if older.id < row.id and set(older.tags) & set(row.tags):
                async with self.store.claimed(older.id):
                    await self._give_up(older.id, row, pinned, call)

    async def _give_up(self, promotion: str, by: PromotionRow, pinned: plan.Plan, call: Call) -> None:
        older = await self.store.get(promotion)
        if older is None or older.state.ended:
            return
        state = older.resume if older.state is State.ERRORED and older.resume else older.state
        run = self._run_of(older, pinned, call, unwatched)
        receipt = older.receipt or (await run.committer.landed(older.id) if state is State.CHECKED else None)
        if state in UNCOMMITTED and receipt is None:
            changes = {"code": "SUPERSEDED", "reasons": [f"{by.id} asks for {by.digest} under the same tags"]}
            await _record(run, steps.Arrival(State.SUPERSEDED, changes))
            await self.store.enter(older, State.SUPERSEDED, **changes)
        else:
            await self._finish(older, pinned, call, receipt)

    async def _finish(self, row: PromotionRow, pinned: plan.Plan, call: Call, receipt: dict[str, Any] | None) -> None:
        """Its tags have changed: only the record is missing."""
        if row.state is State.ERRORED:
            row = await self.store.enter(row, row.resume or State.CHECKED)
        if row.state is State.CHECKED:
            row = await self.store.enter(row, State.COMMITTED, receipt=receipt)
        run = self._run_of(row, pinned, call, unwatched)
        await steps.settle(run)
        await self.store.enter(row, State.SETTLED)

    async def _run(self, run: Run) -> Outcome:
        """The steps, with what has arrived held at the target."""
        reason = f"promotion {run.row.id} over {run.pinned.edge.id}"
        async with Holding(run.pinned.target, run.retry, run.call, run.row.id, reason, self.now) as run.holding:
            return await self._steps(run)

    async def _steps(self, run: Run) -> Outcome:
        """One after the other, until the row has ended or must wait."""
        joined = run.row.state.ended
        if run.row.state is State.ERRORED:
            run.row = await self.store.enter(run.row, run.row.resume or State.GATING, **_NOTHING_WRONG)
        while not run.row.state.ended:
            arrival = await self._step(run)
            if arrival.state is run.row.state:
                run.row = await self.store.keep(run.row, **arrival.changes)
            else:
                run.row = await self.store.enter(run.row, arrival.state, **arrival.changes)
                run.watch(Entered(run.row.id, run.row.state))
            if arrival.stop:
                break
        return outcome_of(run.row, run.pinned.edge, Ending.NOTHING_TO_DO if joined else None)

    async def _step(self, run: Run) -> steps.Arrival:
        """One step and what came of it. An end that is no success is in the ledger before the row says so."""
        try:
            arrival = await steps.STEPS[run.row.state](run)
        except _STEP_ERRORS as error:
            arrival = failure(run, error)
        except (LedgerBroken, OSError) as error:
            return unwritable(run, error)
        try:
            await _record(run, arrival)
        except (LedgerBroken, OSError) as error:
            return unwritable(run, error)
        return arrival

    async def _refused(self, outcome: Outcome, request: Request, who: Principal) -> Outcome:
        """Denials are in the ledger of the scope that they protect."""
        if outcome.target in self.topology.scopes:
            body = {
                "edge": outcome.edge,
                "source": {"scope": outcome.source},
                "target": {"scope": outcome.target},
                "repository": request.repository,
                "reference": request.reference,
                "requester": who.name,
                "how": who.how,
                "code": outcome.code,
                "reasons": list(outcome.reasons),
            }
            ledger = Ledger.of_scope(self.ledgers, outcome.target)
            try:
                await asyncio.to_thread(ledger.append, "refusal", new_id(), body)
            except (LedgerBroken, OSError) as error:  # it stays refused
                return replace(outcome, reasons=(*outcome.reasons, f"the ledger does not take this refusal: {error}"))
        return outcome


async def _record(run: Run, arrival: steps.Arrival) -> None:
    """Refusals, failures and what was given up are in the ledger too, once each."""
    if arrival.state.ended and arrival.state is not State.SETTLED:
        why = {"code": arrival.changes["code"], "reasons": arrival.changes["reasons"]}
        body = steps.ledger_body(run.topology, run.pinned.edge, run.row) | why
        if arrival.changes.get("verdicts") is not None:
            body["verdicts"] = arrival.changes["verdicts"]
        await asyncio.to_thread(run.ledger.append, "refusal", f"{run.row.id}:{arrival.state}", body)
