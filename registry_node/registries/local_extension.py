"""``/_towpath``: what promotion, replication and scrub ask of a local registry beyond the standard."""

from __future__ import annotations

from collections.abc import AsyncIterator

from oci_wire.closure import Source, report
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown
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
    TagReceipt,
    TagStates,
    TagTransaction,
    held_here,
)
from oci_wire.reference import check_repository
from oci_wire.registry import Call
from registry_node.storage import leases, listings, transactions
from registry_node.storage.changes import Transaction
from registry_node.storage.store import Store

FEATURES = ("leases", "holds", "transactions", "tags", "closure", "events")


class LocalExtension:
    """Satisfies ``Extension``; ``LocalRegistry`` adds the ``Registry``."""

    def __init__(self, store: Store, node: str, scope: str) -> None:
        self._store = store
        self._node = node
        self._scope = scope

    async def features(self, call: Call) -> Features | None:
        call.remaining()
        limits = {"lease_seconds": MAX_LEASE_SECONDS, "held_digests": MAX_HELD_DIGESTS}
        return Features(node=self._node, scope=self._scope, features=FEATURES, limits=limits)

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        _check(call, repository)
        return await self._store.write(lambda unit: leases.take(unit, repository, request))

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        _check(call, repository)
        return await self._store.write(lambda unit: leases.renew(unit, repository, lease_id, renewal))

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        _check(call, repository)
        await self._store.write(lambda unit: leases.release(unit, repository, lease_id, token))

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        _check(call, repository)
        return await self._store.write(lambda unit: leases.hold(unit, repository, owner, hold))

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        _check(call, repository)
        await self._store.write(lambda unit: leases.drop_hold(unit, repository, owner))

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        _check(call, repository)
        return await self._store.write(lambda unit: transactions.commit(unit, repository, txid, transaction))

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        _check(call, repository)
        return await self._store.read(lambda tx: transactions.read(Transaction(tx), repository, txid))

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        _check(call, repository)
        await self._store.write(lambda unit: transactions.abort(unit, repository, txid))

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        _check(call, repository)
        return await self._store.read(lambda tx: listings.tag_states(tx, repository, after, limit, known_rev))

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        assert isinstance(self, Source)
        return await report(self, call, repository, digest, rehash=rehash)

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        _check(call, repository)
        try:
            found = self._store.reads.resolve(repository, reference)
        except (ManifestUnknown, NameUnknown):
            return held_here(self._node, repository, reference, None, None)
        pushed = self._store.reads.set_at(repository, reference)
        return held_here(self._node, repository, reference, found.digest, pushed)

    async def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        call.remaining()
        found = await self._store.read(lambda tx: listings.events(tx, after))
        if not found and wait > 0:
            await self._store.news.wait(after, wait)
            found = await self._store.read(lambda tx: listings.events(tx, after))
        for event in found:
            yield event


def _check(call: Call, repository: str) -> None:
    call.remaining()
    check_repository(repository)
