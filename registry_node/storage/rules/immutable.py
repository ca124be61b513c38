"""Immutable tags: once set they neither move nor go, and neither does the digest that they name."""

from __future__ import annotations

from sqlalchemy import Connection, select

from identity.grants import matches
from oci_wire.errors import TagImmutable
from registry_node.storage.rules import Change, ManifestRemoved, Rule, TagSet
from registry_node.storage.schema import tags


def immutable(patterns: tuple[str, ...]) -> Rule:
    """``patterns``: globs over tag names."""

    def check(tx: Connection, change: Change, now: float) -> None:
        match change:
            case TagSet(old=str(old), new=new, tag=tag) if old != new and matches(tag, patterns):
                raise TagImmutable(f"tag {tag} of {change.repository} is immutable and names {old}; push another tag")
            case ManifestRemoved():
                _check_digest(tx, change)

    def _check_digest(tx: Connection, change: ManifestRemoved) -> None:
        pointing = select(tags.c.name).where(
            tags.c.repository_id == change.repository_id, tags.c.digest == change.digest
        )
        for tag in tx.execute(pointing).scalars():
            if matches(tag, patterns):
                raise TagImmutable(f"the immutable tag {tag} of {change.repository} names {change.digest}")

    return check
