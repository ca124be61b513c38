"""What a mirror keeps in its index beside the copies themselves: who gave them, when a tag was last checked, when a
content was last read (schema.py: cached_tags, cached_manifests, cached_uses). And the layers of copies that lie
elsewhere, beside the blobs that they name (manifest_blobs): no other kind of node fetches such."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from oci_wire.manifest import Manifest
from registry_node.storage.changes import Transaction
from registry_node.storage.sql import Connection
from registry_node.storage.statements import put

_PUT_TAG = put("cached_tags", "repository tag", "upstream checked_at gone_at")
_PUT_MANIFEST = put("cached_manifests", "repository digest", "upstream cached_at", change="upstream")
_PUT_USE = put("cached_uses", "digest", "used_at")
_TAG = """
SELECT t.digest, c.upstream, c.checked_at, c.gone_at FROM repositories r
JOIN tags t ON t.repository_id = r.id
JOIN cached_tags c ON c.repository = r.name AND c.tag = t.name
WHERE r.name = :repository AND t.name = :tag"""
_DROP_TAG = "DELETE FROM cached_tags WHERE repository = :repository AND tag = :tag"
_GIVER_OF_CHILD = """
SELECT c.upstream
FROM manifest_children n CROSS JOIN repositories r CROSS JOIN cached_manifests c CROSS JOIN repo_manifests m
WHERE n.digest = :digest AND r.name = :repository
AND c.repository = r.name AND c.digest = n.manifest AND m.repository_id = r.id AND m.digest = n.manifest LIMIT 1"""
_BLOB_CAME_FROM = "SELECT 1 FROM repo_blobs WHERE digest = :digest AND giver = :upstream LIMIT 1"
_MANIFEST_CAME_FROM = """
SELECT 1 FROM repo_manifests l
JOIN repositories r ON r.id = l.repository_id
JOIN cached_manifests c ON c.repository = r.name AND c.digest = l.digest AND c.upstream = :upstream
WHERE l.digest = :digest LIMIT 1"""
_PUT_FOREIGN = put("manifest_blobs", "manifest digest", "size", change="")
_GIVER = "SELECT upstream, cached_at FROM cached_manifests WHERE repository = :repository AND digest = :digest"
_ANY_MANIFEST = """
SELECT m.body, r.media_type FROM manifests m JOIN repo_manifests r ON r.digest = m.digest
WHERE m.digest = :digest LIMIT 1"""


@dataclass(frozen=True, slots=True)
class CachedTag:
    """``digest``: that the copy names. Times are seconds since the epoch."""

    digest: str
    upstream: str
    checked_at: float
    gone_at: float | None


class AnyManifest(NamedTuple):
    """A manifest as some repository has it."""

    body: bytes
    media_type: str


def tag(tx: Connection, repository: str, name: str) -> CachedTag | None:
    row = tx.execute(_TAG, {"repository": repository, "tag": name}).first()
    return None if row is None else CachedTag(*row)


def put_tag(unit: Transaction, repository: str, name: str, known: CachedTag) -> None:
    """Beside the tag itself (changes.set_tag)."""
    row = {"upstream": known.upstream, "checked_at": known.checked_at, "gone_at": known.gone_at}
    unit.tx.execute(_PUT_TAG, {"repository": repository, "tag": name, **row})


def drop_tag(unit: Transaction, repository: str, name: str) -> None:
    unit.tx.execute(_DROP_TAG, {"repository": repository, "tag": name})


def put_manifest(unit: Transaction, repository: str, digest: str, upstream: str) -> None:
    row = {"repository": repository, "digest": digest, "upstream": upstream, "cached_at": unit.clock()}
    unit.tx.execute(_PUT_MANIFEST, row)


def put_foreign_layers(unit: Transaction, manifest: Manifest) -> None:
    """Beside the blobs of a manifest (changes.add_manifest)."""
    rows = [
        {"manifest": str(manifest.digest), "digest": str(each.digest), "size": each.size} for each in manifest.foreign
    ]
    if rows:
        unit.tx.execute_each(_PUT_FOREIGN, rows)


def cached_manifest(tx: Connection, repository: str, digest: str) -> tuple[str, float] | None:
    """Who gave a manifest, and since when it is here (seconds since the epoch)."""
    row = tx.execute(_GIVER, {"repository": repository, "digest": digest}).first()
    return None if row is None else (str(row[0]), float(row[1]))


def blob_came_from(tx: Connection, digest: str, upstream: str) -> bool:
    """Whether a repository has the blob from this upstream. Whose manifest names it says nothing of that: another
    upstream may have given the bytes (decision 0016)."""
    return tx.execute(_BLOB_CAME_FROM, {"digest": digest, "upstream": upstream}).first() is not None


def manifest_came_from(tx: Connection, digest: str, upstream: str) -> bool:
    """Whether this upstream gave the manifest to some repository."""
    return tx.execute(_MANIFEST_CAME_FROM, {"digest": digest, "upstream": upstream}).first() is not None


def giver_of_child(tx: Connection, repository: str, digest: str) -> str | None:
    """The upstream that gave a cached index of this repository which names a manifest."""
    found: str | None = tx.execute(_GIVER_OF_CHILD, {"repository": repository, "digest": digest}).scalar()
    return found


def any_manifest(tx: Connection, digest: str) -> AnyManifest | None:
    row = tx.execute(_ANY_MANIFEST, {"digest": digest}).first()
    return None if row is None else AnyManifest(bytes(row[0]), row[1])


def put_uses(unit: Transaction, digests: Iterable[str], at: float) -> None:
    rows = [{"digest": each, "used_at": at} for each in digests]
    if rows:
        unit.tx.execute_each(_PUT_USE, rows)
