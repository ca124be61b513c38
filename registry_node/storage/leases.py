"""Leases and holds of a repository. The fencing token is issued and checked here: a stopped engine that wakes late
shows an old token and is refused.

A token is the clock in milliseconds, or one more than the last: it grows even when the index was rebuilt. A lease
that would run longer than any lease may was issued before the clock was set back: it has ended.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from oci_wire.errors import Conflict, Gone
from oci_wire.extension import MAX_LEASE_SECONDS, Hold, HoldReceipt, Lease, LeaseRenewal, LeaseRequest
from registry_node.storage.changes import Transaction
from registry_node.storage.statements import among, insert, put

_PUT = put("leases", "repository", "id holder token expires")
_LEASE = "SELECT id, holder, token, expires FROM leases WHERE repository = :repository"
_HOLD = insert("holds", "repository owner until reason")
_HOLD_DIGEST = insert("hold_digests", "repository owner digest")
_DROPS = tuple(
    f"DELETE FROM {table} WHERE repository = :repository AND owner = :owner"  # noqa: S608 - names of our own tables
    for table in ("holds", "hold_digests")
)
_CLOCK_STEP = 60.0  # seconds by which a clock may be put right without ending leases


def take(unit: Transaction, name: str, request: LeaseRequest) -> Lease:
    """Raises Conflict when another holds it."""
    unit.ensure_repository(name)
    row = _row(unit, name)
    running = row is not None and _runs(unit, row)
    if running and row.holder != request.holder:
        raise Conflict(f"{row.holder} holds {name} until {row.expires:.0f}", detail={"holder": row.holder})
    token = max(int(unit.clock() * 1000), row.token + 1 if row is not None else 1)
    lease = Lease(
        id=row.id if running else uuid4().hex,
        holder=request.holder,
        token=token,
        expires=unit.clock() + request.ttl,
    )
    _store(unit, name, lease)
    return lease


def renew(unit: Transaction, name: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
    """Raises Gone."""
    row = _running(unit, name, lease_id, renewal.token)
    lease = Lease(id=row.id, holder=row.holder, token=row.token, expires=unit.clock() + renewal.ttl)
    _store(unit, name, lease)
    return lease


def release(unit: Transaction, name: str, lease_id: str, token: int) -> None:
    """Raises Gone."""
    row = _running(unit, name, lease_id, token)
    _store(unit, name, Lease(id=row.id, holder=row.holder, token=row.token, expires=0))


def check_token(unit: Transaction, name: str, lease_id: str, token: int) -> None:
    """Raises Conflict when the lease has ended or another token was issued."""
    try:
        _running(unit, name, lease_id, token)
    except Gone as error:
        raise Conflict(error.message) from None


def hold(unit: Transaction, name: str, owner: str, wanted: Hold) -> HoldReceipt:
    """Replaces the owner's hold."""
    repository = unit.ensure_repository(name)
    drop_hold(unit, name, owner)
    about = {"repository": name, "owner": owner}
    unit.tx.execute(_HOLD, {**about, "until": wanted.until, "reason": wanted.reason})
    unit.tx.execute_each(_HOLD_DIGEST, [{**about, "digest": each} for each in dict.fromkeys(wanted.digests)])
    known = _known(unit, repository, wanted.digests)
    present = tuple(each for each in wanted.digests if each in known)
    return HoldReceipt(present=present, missing=tuple(each for each in wanted.digests if each not in known))


def drop_hold(unit: Transaction, name: str, owner: str) -> None:
    """No error when there is none."""
    for drop in _DROPS:
        unit.tx.execute(drop, {"repository": name, "owner": owner})


def _known(unit: Transaction, repository: int, digests: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(digests), 500):
        marks, values = among(digests[at : at + 500])
        for table in ("repo_blobs", "repo_manifests"):
            here = f"SELECT digest FROM {table} WHERE repository_id = :repository AND digest IN {marks}"  # noqa: S608
            found.update(unit.tx.execute(here, {"repository": repository, **values}).scalars())
    return found


def _row(unit: Transaction, name: str) -> Any:
    return unit.row(_LEASE, repository=name)


def _running(unit: Transaction, name: str, lease_id: str, token: int) -> Any:
    row = _row(unit, name)
    if row is None or (row.id, row.token) != (lease_id, token) or not _runs(unit, row):
        raise Gone(f"this lease of {name} has ended, or a newer token was issued")
    return row


def _runs(unit: Transaction, row: Any) -> bool:
    return bool(0 < row.expires - unit.clock() <= MAX_LEASE_SECONDS + _CLOCK_STEP)


def _store(unit: Transaction, name: str, lease: Lease) -> None:
    unit.tx.execute(_PUT, {"repository": name, **lease.model_dump()})
