"""Immutable tags: once set they neither move nor go, and neither does anything that they name: the digest, the
manifests of an index, config and layers."""

from __future__ import annotations

from identity.grants import matches
from oci_wire.errors import TagImmutable
from registry_node.storage.rules import BlobRemoved, Change, ManifestRemoved, Rule, TagSet
from registry_node.storage.sql import Connection

# The tags of a repository whose closure has a digest: up from it, through images and indexes. It comes from a column,
# because PostgreSQL wants the collation of names in all parts.
_TAGS_OVER = """
WITH RECURSIVE over(digest) AS (
  SELECT digest FROM manifests WHERE digest = :digest UNION SELECT manifest FROM manifest_blobs WHERE digest = :digest
  UNION SELECT parent.manifest FROM manifest_children parent JOIN over ON parent.digest = over.digest)
SELECT name FROM tags WHERE repository_id = :repository AND digest IN (SELECT digest FROM over)"""


def immutable(patterns: tuple[str, ...]) -> Rule:
    """``patterns``: globs over tag names."""

    def check(tx: Connection, change: Change, now: float) -> None:
        match change:
            case TagSet(old=str(old), new=new, tag=tag) if old != new and matches(tag, patterns):
                raise TagImmutable(f"tag {tag} of {change.repository} is immutable and names {old}; push another tag")
            case ManifestRemoved() | BlobRemoved():
                _check_digest(tx, change)

    def _check_digest(tx: Connection, change: ManifestRemoved | BlobRemoved) -> None:
        here = {"repository": change.repository_id, "digest": change.digest}
        for tag in tx.execute(_TAGS_OVER, here).scalars():
            if matches(tag, patterns):
                raise TagImmutable(f"the immutable tag {tag} of {change.repository} needs {change.digest}")

    return check
