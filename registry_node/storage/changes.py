"""What a writing transaction changes: repositories, tags and manifests, each change with its line in the journal.

The rules (``rules/``) see every change before it is made, in the same transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from registry_node.storage.rules import (
    Change,
    ManifestRemoved,
    Rule,
    TagSet,
)
from registry_node.storage.schema import (
    journal,
    manifest_blobs,
    manifest_children,
    manifests,
    repo_manifests,
    repositories,
    tags,
)


@dataclass(slots=True)
class Transaction:
    """One writing transaction, with the rules that guard it. ``news`` counts its lines in the journal."""

    tx: Connection
    rules: tuple[Rule, ...] = ()
    clock: Callable[[], float] = time.time
    news: int = 0
    _revs: dict[int, int] = field(default_factory=dict)

    def check(self, change: Change) -> None:
        for rule in self.rules:
            rule(self.tx, change, self.clock())

    def row(self, statement: Any) -> Any:
        return self.tx.execute(statement).first()

    def repository(self, name: str) -> int:
        """The repository's key. Raises NameUnknown."""
        row = self.row(select(repositories.c.id).where(repositories.c.name == name))
        if row is None:
            raise NameUnknown(f"there is no repository {name}")
        return int(row.id)

    def ensure_repository(self, name: str) -> int:
        """The same, made when it is new."""
        statement = upsert(repositories).values(name=name, rev=0, created=self.clock())
        self.tx.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
        return self.repository(name)

    def rev(self, repository: int) -> int:
        """The rev of all changes that this transaction makes to a repository: one more than before."""
        if repository not in self._revs:
            bump = update(repositories).where(repositories.c.id == repository).values(rev=repositories.c.rev + 1)
            self._revs[repository] = int(self.tx.execute(bump.returning(repositories.c.rev)).scalar_one())
        return self._revs[repository]

    def record(self, repository: str, rev: int, kind: str, actor: str, **values: Any) -> None:
        """A line of the journal. ``values``: tag, old, digest, media_type, txid, pushed_at."""
        self.news += 1
        line = {"repository": repository, "rev": rev, "kind": kind, "actor": actor, "at": self.clock(), **values}
        self.tx.execute(insert(journal).values(**line))


@dataclass(frozen=True, slots=True)
class Author:
    """In whose name a change is recorded, by which tag transaction, and when the tag was set at its origin."""

    actor: str
    txid: str | None = None
    origin_time: float | None = None


def tag_digest(unit: Transaction, repository: int, tag: str) -> str | None:
    row = unit.row(select(tags.c.digest).where(tags.c.repository_id == repository, tags.c.name == tag))
    return str(row.digest) if row else None


def set_tag(unit: Transaction, name: str, tag: str, to: str | None, author: Author) -> None:
    """Points a tag somewhere, or removes it (``to`` None). The same again changes nothing but the time of its push.

    Raises what the rules raise: TagImmutable."""
    repository = unit.ensure_repository(name)
    old = tag_digest(unit, repository, tag)
    unit.check(TagSet(name, repository, tag, old, to))
    here = (tags.c.repository_id == repository) & (tags.c.name == tag)
    pushed = author.origin_time or unit.clock()
    if old == to and author.txid is None:
        unit.tx.execute(update(tags).where(here).values(pushed_at=pushed))
        return
    rev = unit.rev(repository)
    if to is None:
        unit.tx.execute(delete(tags).where(here))
    else:
        values = {"digest": to, "rev": rev, "pushed_at": pushed}
        statement = upsert(tags).values(repository_id=repository, name=tag, **values)
        unit.tx.execute(statement.on_conflict_do_update(index_elements=["repository_id", "name"], set_=values))
    unit.record(name, rev, "tag", author.actor, tag=tag, old=old, digest=to, txid=author.txid, pushed_at=pushed)


def delete_tag(unit: Transaction, name: str, tag: str, author: Author) -> None:
    """Raises NameUnknown, ManifestUnknown, TagImmutable."""
    if tag_digest(unit, unit.repository(name), tag) is None:
        raise ManifestUnknown(f"{name} has no tag {tag}")
    set_tag(unit, name, tag, None, author)


def has_manifest(unit: Transaction, repository: int, digest: str) -> bool:
    here = (repo_manifests.c.repository_id == repository) & (repo_manifests.c.digest == digest)
    return unit.row(select(repo_manifests.c.digest).where(here)) is not None


def add_manifest(unit: Transaction, name: str, manifest: Manifest, author: Author) -> None:
    """Makes a manifest, whose bytes lie in the content store already, one of this repository's."""
    repository = unit.ensure_repository(name)
    store_manifest(unit, manifest)
    known = unit.row(
        select(repo_manifests.c.media_type).where(
            repo_manifests.c.repository_id == repository, repo_manifests.c.digest == str(manifest.digest)
        )
    )
    link_manifest(unit, repository, manifest)
    if known is None or known.media_type != manifest.media_type:
        rev = unit.rev(repository)
        digest = str(manifest.digest)
        unit.record(name, rev, "manifest", author.actor, digest=digest, media_type=manifest.media_type)


def link_manifest(unit: Transaction, repository: int, manifest: Manifest) -> None:
    values = {
        "media_type": manifest.media_type,
        "size": manifest.size,
        "subject": _subject(manifest),
        "pushed_at": unit.clock(),
    }
    statement = upsert(repo_manifests).values(repository_id=repository, digest=str(manifest.digest), **values)
    unit.tx.execute(statement.on_conflict_do_update(index_elements=["repository_id", "digest"], set_=values))


def store_manifest(unit: Transaction, manifest: Manifest) -> None:
    """The bytes and what they refer to, once for all repositories."""
    digest = str(manifest.digest)
    values = {
        "body": manifest.content,
        "size": manifest.size,
        "artifact_type": manifest.artifact_type,
        "subject": _subject(manifest),
        "annotations": json.dumps(dict(manifest.annotations)),
        "touched_at": unit.clock(),
    }
    statement = upsert(manifests).values(digest=digest, **values)
    unit.tx.execute(
        statement.on_conflict_do_update(index_elements=["digest"], set_={"touched_at": values["touched_at"]})
    )
    blobs = [{"manifest": digest, "digest": str(each.digest), "size": each.size} for each in manifest.blobs]
    children = [{"manifest": digest, "digest": str(each.digest)} for each in manifest.children]
    if blobs:
        unit.tx.execute(upsert(manifest_blobs).on_conflict_do_nothing(), blobs)
    if children:
        unit.tx.execute(upsert(manifest_children).on_conflict_do_nothing(), children)


def delete_manifest(unit: Transaction, name: str, digest: Digest, author: Author) -> None:
    """Its tags go with it. The bytes stay until they are collected, and are served no more from here.

    Raises NameUnknown, ManifestUnknown, TagImmutable, Denied (held)."""
    repository = unit.repository(name)
    if not has_manifest(unit, repository, str(digest)):
        raise ManifestUnknown(f"{name} has no manifest {digest}")
    unit.check(ManifestRemoved(name, repository, str(digest)))
    pointing = select(tags.c.name).where(tags.c.repository_id == repository, tags.c.digest == str(digest))
    for tag in unit.tx.execute(pointing.order_by(tags.c.name)).scalars().all():
        set_tag(unit, name, tag, None, author)
    here = (repo_manifests.c.repository_id == repository) & (repo_manifests.c.digest == str(digest))
    unit.tx.execute(delete(repo_manifests).where(here))
    unit.record(name, unit.rev(repository), "manifest-deleted", author.actor, old=str(digest))


def _subject(manifest: Manifest) -> str | None:
    return str(manifest.subject.digest) if manifest.subject else None
