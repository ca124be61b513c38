"""Holds: digests that an owner (a promotion, a soak, a rollback) needs until a time."""

from __future__ import annotations

from oci_wire.errors import Denied
from registry_node.storage.rules import BlobRemoved, Change, ManifestRemoved
from registry_node.storage.sql import Connection

_HELD = """
SELECT h.owner, h.reason FROM holds h
JOIN hold_digests d ON d.repository = h.repository AND d.owner = h.owner
WHERE h.repository = :repository AND d.digest = :digest AND h.until > :now LIMIT 1"""


def held(tx: Connection, change: Change, now: float) -> None:
    """Raises Denied, naming who holds the digest and why."""
    if not isinstance(change, ManifestRemoved | BlobRemoved):
        return
    row = tx.execute(_HELD, {"repository": change.repository, "digest": change.digest, "now": now}).first()
    if row is not None:
        raise Denied(f"{change.digest} is held by {row.owner}: {row.reason}")
