"""Holds: digests that an owner (a promotion, a soak, a rollback) needs until a time."""

from __future__ import annotations

from sqlalchemy import Connection, select

from oci_wire.errors import Denied
from registry_node.storage.rules import BlobRemoved, Change, ManifestRemoved
from registry_node.storage.schema import hold_digests, holds


def held(tx: Connection, change: Change, now: float) -> None:
    """Raises Denied, naming who holds the digest and why."""
    if not isinstance(change, ManifestRemoved | BlobRemoved):
        return
    statement = (
        select(holds.c.owner, holds.c.reason)
        .join(hold_digests, (hold_digests.c.repository == holds.c.repository) & (hold_digests.c.owner == holds.c.owner))
        .where(holds.c.repository == change.repository, hold_digests.c.digest == change.digest, holds.c.until > now)
    )
    row = tx.execute(statement.limit(1)).first()
    if row is not None:
        raise Denied(f"{change.digest} is held by {row.owner}: {row.reason}")
