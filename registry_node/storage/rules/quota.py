"""Quota: how many bytes of blobs a scope may keep, each blob once. The figure is kept, not counted: a sum over all
blobs would make each push slower than the one before."""

from __future__ import annotations

from oci_wire.errors import InsufficientStorage
from registry_node.storage.rules import BlobAdded, Change, Rule
from registry_node.storage.sql import Connection

_USED = "SELECT value FROM figures WHERE name = 'used_bytes'"
_ADD = """
INSERT INTO figures (name, value) SELECT 'used_bytes', :sign * size FROM blobs WHERE digest = :digest
ON CONFLICT (name) DO UPDATE SET value = figures.value + excluded.value"""
_LINK = "SELECT digest FROM repo_blobs WHERE digest = :digest LIMIT 1"


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
    return int(tx.execute(_USED).scalar() or 0)


def first_link(tx: Connection, digest: str) -> None:
    """To be called before a repository gets a blob: the first one that has it makes it count."""
    if not _is_linked(tx, digest):
        tx.execute(_ADD, {"digest": digest, "sign": 1})


def last_link(tx: Connection, digest: str) -> None:
    """To be called after a repository has lost a blob."""
    if not _is_linked(tx, digest):
        tx.execute(_ADD, {"digest": digest, "sign": -1})


def _is_linked(tx: Connection, digest: str) -> bool:
    return tx.execute(_LINK, {"digest": digest}).first() is not None
