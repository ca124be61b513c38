"""Quota: how many bytes of blobs a scope may keep, each blob once."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from oci_wire.errors import InsufficientStorage
from registry_node.storage.rules import BlobAdded, Change, Rule
from registry_node.storage.schema import blobs, repo_blobs


def quota(limit: int) -> Rule:
    """``limit`` in bytes."""

    def check(tx: Connection, change: Change, now: float) -> None:
        if not isinstance(change, BlobAdded) or _is_linked(tx, change.digest):
            return
        used = used_bytes(tx)
        if used + change.size > limit:
            raise InsufficientStorage(
                f"the quota of this scope is {limit} bytes, {used} are used, and this blob has {change.size}; "
                "delete images that are no longer needed, or ask for a larger quota"
            )

    return check


def used_bytes(tx: Connection) -> int:
    """Bytes of all blobs that some repository has, each once."""
    linked = select(repo_blobs.c.digest)
    return int(
        tx.execute(select(func.coalesce(func.sum(blobs.c.size), 0)).where(blobs.c.digest.in_(linked))).scalar_one()
    )


def _is_linked(tx: Connection, digest: str) -> bool:
    return tx.execute(select(repo_blobs.c.digest).where(repo_blobs.c.digest == digest).limit(1)).first() is not None
