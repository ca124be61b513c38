"""The extension's answers of a registry that does not speak it, so that it can stand wherever one that does may."""

from __future__ import annotations

from collections.abc import AsyncIterator

from oci_wire.digest import Digest
from oci_wire.errors import Unsupported
from oci_wire.extension import (
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
)
from oci_wire.registry import Call

_NO = "this registry does not speak /_towpath/v1"


class Unextended:
    """``features`` is None; everything else raises Unsupported."""

    async def features(self, call: Call) -> Features | None:
        return None

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        raise Unsupported(_NO)

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        raise Unsupported(_NO)

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        raise Unsupported(_NO)

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        raise Unsupported(_NO)

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        raise Unsupported(_NO)

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        raise Unsupported(_NO)

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        raise Unsupported(_NO)

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        raise Unsupported(_NO)

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        raise Unsupported(_NO)

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        raise Unsupported(_NO)

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        raise Unsupported(_NO)

    async def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        raise Unsupported(_NO)
        yield  # an async generator, as the port wants
