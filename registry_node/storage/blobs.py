"""Blobs in the index: which exist, and which repositories may serve them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestBlobUnknown, ManifestInvalid
from registry_node.storage.changes import Transaction
from registry_node.storage.rules import BlobAdded, BlobRemoved
from registry_node.storage.rules.quota import first_link, last_link
from registry_node.storage.schema import blobs, repo_blobs, repo_manifests, repositories
from registry_node.storage.statements import is_, put

_PUT_BLOB = put(blobs, "digest", change=("size", "state", "touched_at"))
_PUT_LINK = put(repo_blobs, "repository_id", "digest", change=("linked_at",))
_LINKED = (
    select(blobs.c.digest, blobs.c.size)
    .join(repo_blobs, repo_blobs.c.digest == blobs.c.digest)
    .join(repositories, repositories.c.id == repo_blobs.c.repository_id)
    .where(is_(repositories.c.name, "name"), blobs.c.state == "present")
    .where(blobs.c.digest.in_(bindparam("digests", expanding=True)))
)
_CHILDREN = (
    select(repo_manifests.c.digest)
    .join(repositories, repositories.c.id == repo_manifests.c.repository_id)
    .where(is_(repositories.c.name, "name"), repo_manifests.c.digest.in_(bindparam("digests", expanding=True)))
)


def add_blob(unit: Transaction, name: str, digest: Digest, size: int) -> None:
    """A blob whose bytes lie in the content store already. Raises InsufficientStorage (quota)."""
    unit.check(BlobAdded(name, str(digest), size))
    row = {"digest": str(digest), "size": size, "state": "present", "touched_at": unit.clock()}
    unit.tx.execute(_PUT_BLOB, row)
    link_blob(unit, unit.ensure_repository(name), str(digest))


def link_blob(unit: Transaction, repository: int, digest: str) -> None:
    first_link(unit.tx, digest)
    unit.tx.execute(_PUT_LINK, {"repository_id": repository, "digest": digest, "linked_at": unit.clock()})


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
    last_link(unit.tx, str(digest))


def require_blobs(tx: Connection, name: str, wanted: Iterable[Descriptor]) -> None:
    """Raises ManifestBlobUnknown, naming all that this repository has not, and ManifestInvalid for one that has
    another size here: no client could pull such an image."""
    wanted = tuple(wanted)
    digests = sorted({str(each.digest) for each in wanted})
    known = _linked(tx, name, digests)
    missing = [each for each in digests if each not in known]
    if missing:
        raise ManifestBlobUnknown(f"push these blobs to {name} first: {', '.join(missing[:5])}", detail=missing)
    for each in wanted:
        if known[str(each.digest)] != each.size:
            raise ManifestInvalid(f"{each.digest} has {known[str(each.digest)]} bytes, this manifest says {each.size}")


def require_children(tx: Connection, name: str, wanted: Iterable[Descriptor]) -> None:
    """The same for the manifests of an index."""
    digests = sorted({str(each.digest) for each in wanted})
    known: set[str] = set()
    for at in range(0, len(digests), 500):
        known.update(tx.execute(_CHILDREN, {"name": name, "digests": digests[at : at + 500]}).scalars())
    missing = [each for each in digests if each not in known]
    if missing:
        raise ManifestBlobUnknown(f"push these manifests to {name} first: {', '.join(missing[:5])}", detail=missing)


def _linked(tx: Connection, name: str, digests: Sequence[str]) -> dict[str, int]:
    """Those of them that this repository has, with their sizes."""
    found: dict[str, int] = {}
    for at in range(0, len(digests), 500):
        rows = tx.execute(_LINKED, {"name": name, "digests": digests[at : at + 500]})
        found.update((digest, size) for digest, size in rows)
    return found
