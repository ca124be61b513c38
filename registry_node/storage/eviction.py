"""What goes when a cache is full: the image that was read longest ago, and of its blobs those that no other cached image
of its repository names. Content goes once no repository has it any more.

First the index forgets (``evict``, ``forget``), then the file goes: whoever asks in between is told that it is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from oci_wire.digest import Digest
from registry_node.storage import changes, garbage
from registry_node.storage.blobs import unlink_blob
from registry_node.storage.changes import Author, Transaction
from registry_node.storage.garbage import Unneeded
from registry_node.storage.rules.quota import used_bytes
from registry_node.storage.sql import Connection

_EVICTOR = Author("towpath-eviction")
_MANIFEST_BYTES = "SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM repo_manifests) AS each_once"
# Manifests, and blobs that no manifest of their repository names, the one read longest ago first.
_OLDEST = """
SELECT r.name AS repository, c.digest AS digest, c.blob AS blob FROM (
  SELECT repository_id, digest, pushed_at AS since, 0 AS blob FROM repo_manifests
  UNION ALL
  SELECT repository_id, digest, since, 1 FROM unneeded) AS c
JOIN repositories r ON r.id = c.repository_id
LEFT JOIN cached_uses u ON u.digest = c.digest
ORDER BY coalesce(u.used_at, c.since), c.blob, c.digest LIMIT :most"""
_LEFT_ALONE = """
SELECT u.digest FROM manifest_blobs b CROSS JOIN unneeded u
WHERE b.manifest = :digest AND u.repository_id = :repository AND u.digest = b.digest"""
_USED = "SELECT 1 FROM cached_uses WHERE digest = :digest AND used_at > :before"
_DROP_TAGS = """
DELETE FROM cached_tags WHERE repository = :name
AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = :repository AND t.name = cached_tags.tag)"""
_DROP_MANIFEST = "DELETE FROM cached_manifests WHERE repository = :name AND digest = :digest"
_HAS = """
SELECT (SELECT count(*) FROM repo_blobs WHERE digest = :digest)
     + (SELECT count(*) FROM repo_manifests WHERE digest = :digest)"""
_FORGET = (
    "DELETE FROM blobs WHERE digest = :digest",
    "DELETE FROM manifest_blobs WHERE manifest = :digest",
    "DELETE FROM manifest_children WHERE manifest = :digest",
    "DELETE FROM manifests WHERE digest = :digest",
    "DELETE FROM cached_uses WHERE digest = :digest",
    "DELETE FROM unlinked WHERE digest = :digest",
)
_KNOWN = "SELECT digest FROM blobs UNION SELECT digest FROM manifests"


class Victim(NamedTuple):
    """A manifest with what it alone names, or (``blob``) a blob that no manifest names."""

    repository: str
    digest: str
    blob: bool


def cached_bytes(tx: Connection) -> int:
    """Of all blobs and manifests that some repository has, each once."""
    return used_bytes(tx) + int(tx.execute(_MANIFEST_BYTES).scalar())


def oldest(tx: Connection, most: int) -> tuple[Victim, ...]:
    """The one that was read longest ago first."""
    return tuple(Victim(row[0], row[1], bool(row[2])) for row in tx.execute(_OLDEST, {"most": most}))


def evict(unit: Transaction, victims: Iterable[Victim], limit: int, spared: frozenset[str]) -> int:
    """Takes them from their repositories, in order, until at most ``limit`` bytes are left. ``spared``: digests that
    stay. The bytes that are left."""
    left = cached_bytes(unit.tx)
    for victim in victims:
        if left <= limit:
            break
        if victim.digest not in spared:
            _take(unit, victim, spared)
            left = cached_bytes(unit.tx)
    return left


def _take(unit: Transaction, victim: Victim, spared: frozenset[str]) -> None:
    repository = unit.repository(victim.repository)
    here = {"repository": repository, "digest": victim.digest}
    if victim.blob:
        if garbage.is_unneeded(unit.tx, repository, victim.digest):  # still
            unlink_blob(unit, repository, victim.digest)
    elif changes.has_manifest(unit, repository, victim.digest):
        changes.delete_manifest(unit, victim.repository, Digest.parse(victim.digest), _EVICTOR)
        forget_copies(unit, victim.repository, victim.digest)
        for each in unit.tx.execute(_LEFT_ALONE, here).scalars():
            if each not in spared:
                unlink_blob(unit, repository, each)


def let_go(unit: Transaction, links: Iterable[Unneeded], before: float, spared: frozenset[str]) -> None:
    """Takes blobs from their repositories that no manifest has named, and nobody has read, since ``before``."""
    for each in links:
        used = unit.tx.execute(_USED, {"digest": each.digest, "before": before}).first() is not None
        if (
            not used
            and each.digest not in spared
            and garbage.is_unneeded(unit.tx, each.key, each.digest, before=before)
        ):
            unlink_blob(unit, unit.repository(each.repository), each.digest)


def forget_copies(unit: Transaction, name: str, digest: str) -> None:
    """What is known of a manifest that its repository has no more, and of the tags that went with it."""
    repository = unit.repository(name)
    unit.tx.execute(_DROP_TAGS, {"name": name, "repository": repository})
    unit.tx.execute(_DROP_MANIFEST, {"name": name, "digest": digest})


def forget(unit: Transaction, digests: Sequence[str]) -> tuple[str, ...]:
    """Takes what no repository has out of the index. Those of them whose files may go now."""
    gone = tuple(each for each in digests if not unit.tx.execute(_HAS, {"digest": each}).scalar())
    for each in gone:
        for statement in _FORGET:
            unit.tx.execute(statement, {"digest": each})
    return gone


def known(tx: Connection) -> Iterator[str]:
    """Every digest that the index has."""
    return iter(tx.execute(_KNOWN).scalars())
