"""Blobs in the index: which exist, and which repositories may serve them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestBlobUnknown
from registry_node.storage.changes import Transaction
from registry_node.storage.rules import BlobAdded, BlobRemoved
from registry_node.storage.schema import blobs, repo_blobs, repo_manifests, repositories


def add_blob(unit: Transaction, name: str, digest: Digest, size: int) -> None:
    """A blob whose bytes lie in the content store already. Raises InsufficientStorage (quota)."""
    unit.check(BlobAdded(name, str(digest), size))
    values = {"size": size, "state": "present", "touched_at": unit.clock()}
    statement = upsert(blobs).values(digest=str(digest), **values)
    unit.tx.execute(statement.on_conflict_do_update(index_elements=["digest"], set_=values))
    link_blob(unit, unit.ensure_repository(name), str(digest))


def link_blob(unit: Transaction, repository: int, digest: str) -> None:
    values = {"linked_at": unit.clock()}
    statement = upsert(repo_blobs).values(repository_id=repository, digest=digest, **values)
    unit.tx.execute(statement.on_conflict_do_update(index_elements=["repository_id", "digest"], set_=values))


def blob_size(tx: Connection, digest: Digest, source: str | None) -> int | None:
    """Bytes of a blob that ``source`` (None: any repository) has; None when it has not."""
    statement = (
        select(blobs.c.size)
        .join(repo_blobs, repo_blobs.c.digest == blobs.c.digest)
        .join(repositories, repositories.c.id == repo_blobs.c.repository_id)
        .where(blobs.c.digest == str(digest), blobs.c.state == "present")
    )
    if source is not None:
        statement = statement.where(repositories.c.name == source)
    row = tx.execute(statement.limit(1)).first()
    return int(row.size) if row else None


def delete_blob(unit: Transaction, name: str, digest: Digest) -> None:
    """This repository no longer has it; other repositories keep it. Raises BlobUnknown, NameUnknown, Denied (held)."""
    repository = unit.repository(name)
    here = (repo_blobs.c.repository_id == repository) & (repo_blobs.c.digest == str(digest))
    if unit.row(select(repo_blobs.c.digest).where(here)) is None:
        raise BlobUnknown(f"{name} has no blob {digest}")
    unit.check(BlobRemoved(name, repository, str(digest)))
    unit.tx.execute(delete(repo_blobs).where(here))


def require_blobs(tx: Connection, name: str, wanted: Iterable[Descriptor]) -> None:
    """Raises ManifestBlobUnknown, naming all that this repository has not."""
    digests = sorted({str(each.digest) for each in wanted})
    known = _linked(tx, name, digests)
    missing = [each for each in digests if each not in known]
    if missing:
        raise ManifestBlobUnknown(f"push these blobs to {name} first: {', '.join(missing[:5])}", detail=missing)


def require_children(tx: Connection, name: str, wanted: Iterable[Descriptor]) -> None:
    """The same for the manifests of an index."""
    digests = sorted({str(each.digest) for each in wanted})
    here = (
        select(repo_manifests.c.digest)
        .join(repositories, repositories.c.id == repo_manifests.c.repository_id)
        .where(repositories.c.name == name)
    )
    known: set[str] = set()
    for at in range(0, len(digests), 500):
        known.update(tx.execute(here.where(repo_manifests.c.digest.in_(digests[at : at + 500]))).scalars())
    missing = [each for each in digests if each not in known]
    if missing:
        raise ManifestBlobUnknown(f"push these manifests to {name} first: {', '.join(missing[:5])}", detail=missing)


def _linked(tx: Connection, name: str, digests: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(digests), 500):
        statement = (
            select(blobs.c.digest)
            .join(repo_blobs, repo_blobs.c.digest == blobs.c.digest)
            .join(repositories, repositories.c.id == repo_blobs.c.repository_id)
            .where(repositories.c.name == name, blobs.c.digest.in_(digests[at : at + 500]), blobs.c.state == "present")
        )
        found.update(tx.execute(statement).scalars())
    return found
