"""Immutable tags: once set they neither move nor go, and neither does anything that they name: the digest, the
manifests of an index, config and layers."""

from __future__ import annotations

from identity.grants import matches
from oci_wire.errors import TagImmutable
from registry_node.storage.rules import BlobRemoved, Change, ManifestRemoved, Rule, TagSet
from registry_node.storage.sql import Connection

# The tags of a repository whose closure has a digest: up from it, through the images and indexes that the repository has.
# What an index lacks here (sparse) it does not lead to, though the node knows it from elsewhere. It comes from a column,
# because PostgreSQL wants the collation of names in all parts.
_TAGS_OVER = """
WITH RECURSIVE over(digest) AS (
  SELECT digest FROM repo_manifests WHERE repository_id = :repository AND digest = :digest
  UNION SELECT m.digest FROM manifest_blobs b JOIN repo_manifests m ON m.digest = b.manifest
  WHERE b.digest = :digest AND m.repository_id = :repository
  UNION SELECT m.digest FROM manifest_children c JOIN repo_manifests m ON m.digest = c.manifest
  WHERE c.digest = :digest AND m.repository_id = :repository
  UNION SELECT m.digest FROM over JOIN manifest_children c ON c.digest = over.digest
  JOIN repo_manifests m ON m.digest = c.manifest WHERE m.repository_id = :repository)
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
