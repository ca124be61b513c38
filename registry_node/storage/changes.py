"""What a writing transaction changes: repositories, tags and manifests, each change with its line in the journal.

The rules (``rules/``) see every change before it is made, in the same transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from oci_wire.digest import Digest
from oci_wire.errors import ManifestInvalid, ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from registry_node.storage import garbage
from registry_node.storage.rules import (
    Change,
    ManifestRemoved,
    Rule,
    TagSet,
)
from registry_node.storage.sql import Connection
from registry_node.storage.statements import insert, put

LINE = "repository rev kind tag old digest media_type actor txid at pushed_at"  # of the journal, behind its position
_REPOSITORY = "SELECT id FROM repositories WHERE name = :name"
_NEW_REPOSITORY = insert("repositories", "name rev created")
_BUMP = "UPDATE repositories SET rev = rev + 1 WHERE id = :repository RETURNING rev"
# Positions follow commits, because writing transactions follow one another. A sequence would leave gaps, and would have
# to be told of what a replay brought back.
_RECORD = insert("journal", f"position {LINE}").replace(
    ":position", "(SELECT coalesce(max(position), 0) + 1 FROM journal)"
)
_NO_VALUES = dict.fromkeys(("tag", "old", "digest", "media_type", "txid", "pushed_at"))
_TAG = "SELECT digest FROM tags WHERE repository_id = :repository AND name = :tag"
_TOUCH_TAG = "UPDATE tags SET pushed_at = :pushed WHERE repository_id = :repository AND name = :tag"
_DROP_TAG = "DELETE FROM tags WHERE repository_id = :repository AND name = :tag"
_PUT_TAG = put("tags", "repository_id name", "digest rev pushed_at")
_POINTING = "SELECT name FROM tags WHERE repository_id = :repository AND digest = :digest ORDER BY name"
_LINK = "SELECT media_type FROM repo_manifests WHERE repository_id = :repository AND digest = :digest"
_UNLINK = "DELETE FROM repo_manifests WHERE repository_id = :repository AND digest = :digest"
_PUT_LINK = put(
    "repo_manifests", "repository_id digest", "media_type size subject pushed_at", change="media_type subject pushed_at"
)
_PUT_MANIFEST = put(
    "manifests", "digest", "body size artifact_type subject annotations touched_at", change="touched_at"
)
_PUT_BLOBS = put("manifest_blobs", "manifest digest", "size", change="")
_PUT_CHILDREN = put("manifest_children", "manifest digest")


@dataclass(slots=True)
class Transaction:
    """One writing transaction, with the rules that guard it. ``news`` counts its lines in the journal; ``touched``
    names the repositories that it may have changed."""

    tx: Connection
    rules: tuple[Rule, ...] = ()
    clock: Callable[[], float] = time.time
    news: int = 0
    touched: set[str] = field(default_factory=set)
    _revs: dict[int, int] = field(default_factory=dict)

    def check(self, change: Change) -> None:
        for rule in self.rules:
            rule(self.tx, change, self.clock())

    def row(self, statement: str, **values: Any) -> Any:
        return self.tx.execute(statement, values).first()

    def repository(self, name: str) -> int:
        """The repository's key. Raises NameUnknown."""
        self.touched.add(name)
        row = self.row(_REPOSITORY, name=name)
        if row is None:
            raise NameUnknown(f"there is no repository {name}")
        return int(row.id)

    def ensure_repository(self, name: str) -> int:
        """The same, made when it is new."""
        self.touched.add(name)
        row = self.row(_REPOSITORY, name=name)
        if row is None:
            self.tx.execute(_NEW_REPOSITORY, {"name": name, "rev": 0, "created": self.clock()})
            return self.repository(name)
        return int(row.id)

    def rev(self, repository: int) -> int:
        """The rev of all changes that this transaction makes to a repository: one more than before."""
        if repository not in self._revs:
            self._revs[repository] = int(self.tx.execute(_BUMP, {"repository": repository}).scalar())
        return self._revs[repository]

    def record(self, repository: str, rev: int, kind: str, actor: str, **values: Any) -> None:
        """A line of the journal. ``values``: tag, old, digest, media_type, txid, pushed_at."""
        self.news += 1
        line = {"repository": repository, "rev": rev, "kind": kind, "actor": actor, "at": self.clock(), **values}
        self.tx.execute(_RECORD, {**_NO_VALUES, **line})


@dataclass(frozen=True, slots=True)
class Author:
    """In whose name a change is recorded, by which tag transaction, and when the tag was set at its origin."""

    actor: str
    txid: str | None = None
    origin_time: float | None = None


def tag_digest(unit: Transaction, repository: int, tag: str) -> str | None:
    row = unit.row(_TAG, repository=repository, tag=tag)
    return str(row.digest) if row else None


def set_tag(unit: Transaction, name: str, tag: str, to: str | None, author: Author) -> None:
    """Points a tag somewhere, or removes it (``to`` None). The same again changes nothing but the time of its push.

    Raises what the rules raise: TagImmutable."""
    repository = unit.ensure_repository(name)
    old = tag_digest(unit, repository, tag)
    unit.check(TagSet(name, repository, tag, old, to))
    pushed = author.origin_time or unit.clock()
    if old == to and author.txid is None:
        unit.tx.execute(_TOUCH_TAG, {"repository": repository, "tag": tag, "pushed": pushed})
        return
    rev = unit.rev(repository)
    if to is None:
        unit.tx.execute(_DROP_TAG, {"repository": repository, "tag": tag})
    else:
        row = {"repository_id": repository, "name": tag, "digest": to, "rev": rev, "pushed_at": pushed}
        unit.tx.execute(_PUT_TAG, row)
    unit.record(name, rev, "tag", author.actor, tag=tag, old=old, digest=to, txid=author.txid, pushed_at=pushed)


def delete_tag(unit: Transaction, name: str, tag: str, author: Author) -> None:
    """Raises NameUnknown, ManifestUnknown, TagImmutable."""
    if tag_digest(unit, unit.repository(name), tag) is None:
        raise ManifestUnknown(f"{name} has no tag {tag}")
    set_tag(unit, name, tag, None, author)


def has_manifest(unit: Transaction, repository: int, digest: str) -> bool:
    return unit.row(_LINK, repository=repository, digest=digest) is not None


def add_manifest(unit: Transaction, name: str, manifest: Manifest, author: Author) -> None:
    """Makes a manifest, whose bytes lie in the content store already, one of this repository's.

    Raises ManifestInvalid when they are known here as something else: a digest, and with it every tag that names it,
    would change what it means."""
    repository = unit.ensure_repository(name)
    known = unit.row(_LINK, repository=repository, digest=str(manifest.digest))
    if known is not None and known.media_type != manifest.media_type:
        raise ManifestInvalid(
            f"{name} has {manifest.digest} as {known.media_type} already; delete that, or push it as that again"
        )
    store_manifest(unit, manifest)
    link_manifest(unit, repository, manifest)
    if known is None:
        rev = unit.rev(repository)
        digest = str(manifest.digest)
        unit.record(name, rev, "manifest", author.actor, digest=digest, media_type=manifest.media_type)


def link_manifest(unit: Transaction, repository: int, manifest: Manifest) -> None:
    """Of what ``store_manifest`` has kept."""
    row = {
        "repository_id": repository,
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "size": manifest.size,
        "subject": _subject(manifest),
        "pushed_at": unit.clock(),
    }
    unit.tx.execute(_PUT_LINK, row)
    garbage.manifest_came(unit.tx, repository, str(manifest.digest))


def unlink_manifest(unit: Transaction, repository: int, digest: str) -> None:
    unit.tx.execute(_UNLINK, {"repository": repository, "digest": digest})
    garbage.manifest_went(unit.tx, repository, digest, unit.clock())


def store_manifest(unit: Transaction, manifest: Manifest) -> None:
    """The bytes and what they refer to, once for all repositories."""
    digest = str(manifest.digest)
    row = {
        "digest": digest,
        "body": manifest.content,
        "size": manifest.size,
        "artifact_type": manifest.artifact_type,
        "subject": _subject(manifest),
        "annotations": json.dumps(dict(manifest.annotations)),
        "touched_at": unit.clock(),
    }
    unit.tx.execute(_PUT_MANIFEST, row)
    blobs = [{"manifest": digest, "digest": str(each.digest), "size": each.size} for each in manifest.blobs]
    children = [{"manifest": digest, "digest": str(each.digest)} for each in manifest.children]
    if blobs:
        unit.tx.execute_each(_PUT_BLOBS, blobs)
    if children:
        unit.tx.execute_each(_PUT_CHILDREN, children)


def delete_manifest(unit: Transaction, name: str, digest: Digest, author: Author) -> None:
    """Its tags go with it. The bytes stay until they are collected, and are served no more from here.

    Raises NameUnknown, ManifestUnknown, TagImmutable, Denied (held)."""
    repository = unit.repository(name)
    if not has_manifest(unit, repository, str(digest)):
        raise ManifestUnknown(f"{name} has no manifest {digest}")
    unit.check(ManifestRemoved(name, repository, str(digest)))
    here = {"repository": repository, "digest": str(digest)}
    for tag in unit.tx.execute(_POINTING, here).scalars():
        set_tag(unit, name, tag, None, author)
    unlink_manifest(unit, repository, str(digest))
    unit.record(name, unit.rev(repository), "manifest-deleted", author.actor, old=str(digest))


def _subject(manifest: Manifest) -> str | None:
    return str(manifest.subject.digest) if manifest.subject else None
