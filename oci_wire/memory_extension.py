"""The ``/_towpath`` half of the in-memory registry: leases, holds, tag transactions, closure, events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

from oci_wire.closure import Source, report
from oci_wire.digest import Digest
from oci_wire.errors import Conflict, Gone, ManifestUnknown, NameUnknown, PreconditionFailed
from oci_wire.extension import (
    MAX_HELD_DIGESTS,
    MAX_LEASE_SECONDS,
    ClosureReport,
    Event,
    Explanation,
    Features,
    Hold,
    HoldReceipt,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    TagEffect,
    TagReceipt,
    TagState,
    TagStates,
    TagTransaction,
    held_here,
)
from oci_wire.memory_state import Landed, Repository, State, page
from oci_wire.registry import Call

FEATURES = ("leases", "holds", "transactions", "tags", "closure", "events")


class MemoryExtension:
    """Satisfies ``Extension``; ``MemoryRegistry`` adds the ``Registry``."""

    def __init__(self, state: State, node: str, scope: str, page_size: int) -> None:
        self._state = state
        self._node = node
        self._scope = scope
        self._page_size = page_size

    async def features(self, call: Call) -> Features | None:
        call.remaining()
        limits = {"lease_seconds": MAX_LEASE_SECONDS, "held_digests": MAX_HELD_DIGESTS}
        return Features(node=self._node, scope=self._scope, features=FEATURES, limits=limits)

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        here = self._state.written(call, repository)
        held = self._running(here)
        if held is not None and held.holder != request.holder:
            raise Conflict(f"{held.holder} holds {repository} until {held.expires:.0f}", detail={"holder": held.holder})
        here.last_token += 1
        here.lease = Lease(
            id=held.id if held else uuid4().hex,
            holder=request.holder,
            token=here.last_token,
            expires=self._state.clock() + request.ttl,
        )
        return here.lease

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        here, lease = self._lease(call, repository, lease_id, renewal.token)
        here.lease = lease.model_copy(update={"expires": self._state.clock() + renewal.ttl})
        return here.lease

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        here, _ = self._lease(call, repository, lease_id, token)
        here.lease = None

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        here = self._state.written(call, repository)
        here.holds[owner] = hold
        known = {str(each) for each in here.blobs} | {str(each) for each in here.manifests}
        present = tuple(each for each in hold.digests if each in known)
        return HoldReceipt(present=present, missing=tuple(each for each in hold.digests if each not in known))

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        self._state.written(call, repository).holds.pop(owner, None)

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        here = self._state.written(call, repository)
        if txid in here.transactions:
            return _again(here.transactions[txid], txid, transaction)
        self._check_time_and_token(here, transaction)
        self._check_tags(here, transaction)
        effects = tuple(TagEffect(tag=each.tag, old=each.expect, new=each.to) for each in transaction.tags)
        for each in transaction.tags:
            to = Digest.parse(each.to) if each.to else None
            self._state.set_tag(call, repository, each.tag, to, actor=transaction.actor)
        receipt = TagReceipt(txid=txid, rev=here.rev, at=self._state.clock(), actor=transaction.actor, effects=effects)
        here.transactions[txid] = Landed(transaction, receipt)
        return receipt

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        try:
            landed = self._state.repository(call, repository).transactions.get(txid)
        except NameUnknown:
            return None
        return landed.receipt if landed else None

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        here = self._state.written(call, repository)
        landed = here.transactions.setdefault(txid, None)
        if landed is not None:
            raise Conflict(f"transaction {txid} has landed", detail=landed.receipt.model_dump(mode="json"))

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        here = self._state.repository(call, repository)
        if known_rev == here.rev:
            return None
        names = sorted(here.tags)
        states = [
            TagState(tag=name, digest=str(tag.digest), rev=tag.rev, pushed=tag.pushed, pulled=tag.pulled)
            for name, tag in ((name, here.tags[name]) for name in names)
        ]
        shown = page(states, names, after, limit, self._page_size)
        return TagStates(rev=here.rev, tags=shown.items, next=shown.next)

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        assert isinstance(self, Source)
        return await report(self, call, repository, digest, rehash=rehash)

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        try:
            here = self._state.repository(call, repository)
            found = self._state.find(here, reference)
        except (ManifestUnknown, NameUnknown):
            return held_here(self._node, repository, reference, None, None)
        tag = here.tags.get(reference)
        return held_here(self._node, repository, reference, found.digest, tag.pushed if tag else None)

    async def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        call.remaining()
        if wait > 0 and after == self._state.position:
            await self._state.news(wait)
        for event in self._state.events_after(after):
            yield event

    def _running(self, here: Repository) -> Lease | None:
        return here.lease if here.lease and here.lease.expires > self._state.clock() else None

    def _lease(self, call: Call, repository: str, lease_id: str, token: int) -> tuple[Repository, Lease]:
        here = self._state.written(call, repository)
        lease = self._running(here)
        if lease is None or (lease.id, lease.token) != (lease_id, token):
            raise Gone(f"this lease of {repository} has ended, or a newer token was issued")
        return here, lease

    def _check_time_and_token(self, here: Repository, transaction: TagTransaction) -> None:
        lease = self._running(here)
        if lease is None or (lease.id, lease.token) != (transaction.lease, transaction.token):
            raise Conflict("the lease of this transaction has ended, or a newer token was issued")
        if self._state.clock() > transaction.not_after:
            raise Gone("this transaction came after its time; plan again")

    def _check_tags(self, here: Repository, transaction: TagTransaction) -> None:
        actual = {each.tag: here.tags.get(each.tag) for each in transaction.tags}
        found = {tag: str(each.digest) if each else None for tag, each in actual.items()}
        moved = {each.tag: found[each.tag] for each in transaction.tags if found[each.tag] != each.expect}
        if moved:
            raise PreconditionFailed(f"tags are not what was expected: {', '.join(sorted(moved)[:5])}", detail=moved)
        targets = {Digest.parse(each.to) for each in transaction.tags if each.to}
        missing = sorted(str(each) for each in targets if each not in here.manifests)
        if missing:
            raise ManifestUnknown(f"not here: {', '.join(missing[:5])}", detail=missing)
        for each in transaction.tags:
            self._state.check_tag_change(here, each.tag, Digest.parse(each.to) if each.to else None)


def _again(landed: Landed | None, txid: str, transaction: TagTransaction) -> TagReceipt:
    if landed is None:
        raise Conflict(f"transaction {txid} was aborted")
    if landed.transaction.purpose != transaction.purpose:
        raise Conflict(f"transaction id {txid} was used for something else")
    return landed.receipt
