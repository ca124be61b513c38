"""Blobs in the index: which exist, and which repositories may serve them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestBlobUnknown, ManifestInvalid
from registry_node.storage import garbage
from registry_node.storage.changes import Transaction
from registry_node.storage.rules import BlobAdded, BlobRemoved
from registry_node.storage.rules.quota import first_link, last_link
from registry_node.storage.sql import Connection
from registry_node.storage.statements import among, put

_PUT_BLOB = put("blobs", "digest", "size state touched_at")
_PUT_LINK = put("repo_blobs", "repository_id digest", "linked_at giver")
_LINK = "SELECT digest FROM repo_blobs WHERE repository_id = :repository AND digest = :digest"
_UNLINK = "DELETE FROM repo_blobs WHERE repository_id = :repository AND digest = :digest"
_LINKED = """
SELECT b.digest, b.size FROM repositories r
JOIN repo_blobs l ON l.repository_id = r.id
JOIN blobs b ON b.digest = l.digest
WHERE r.name = :name AND b.state = 'present' AND l.digest IN """
_CHILDREN = """
SELECT m.digest FROM repositories r JOIN repo_manifests m ON m.repository_id = r.id
WHERE r.name = :name AND m.digest IN """
_SIZE = """
SELECT b.size FROM blobs b
JOIN repo_blobs l ON l.digest = b.digest
JOIN repositories r ON r.id = l.repository_id
WHERE b.digest = :digest AND b.state = 'present'"""
_SIZE_ANYWHERE, _SIZE_THERE = f"{_SIZE} LIMIT 1", f"{_SIZE} AND r.name = :source LIMIT 1"


def add_blob(unit: Transaction, name: str, digest: Digest, size: int, giver: str | None = None) -> None:
    """A blob whose bytes lie in the content store already. ``giver``: the upstream they came from, at a mirror. Raises
    InsufficientStorage (quota)."""
    unit.check(BlobAdded(name, str(digest), size))
    row = {"digest": str(digest), "size": size, "state": "present", "touched_at": unit.clock()}
    unit.tx.execute(_PUT_BLOB, row)
    link_blob(unit, unit.ensure_repository(name), str(digest), giver)


def link_blob(unit: Transaction, repository: int, digest: str, giver: str | None = None) -> None:
    now = unit.clock()
    first_link(unit.tx, digest)
    unit.tx.execute(_PUT_LINK, {"repository_id": repository, "digest": digest, "linked_at": now, "giver": giver})
    garbage.blob_came(unit.tx, repository, digest, now)


def unlink_blob(unit: Transaction, repository: int, digest: str) -> None:
    unit.tx.execute(_UNLINK, {"repository": repository, "digest": digest})
    last_link(unit.tx, digest)
    garbage.blob_went(unit.tx, repository, digest, unit.clock())


def blob_size(tx: Connection, digest: Digest, source: str | None) -> int | None:
    """Bytes of a blob that ``source`` (None: any repository) has; None when it has not."""
    statement = _SIZE_ANYWHERE if source is None else _SIZE_THERE
    size = tx.execute(statement, {"digest": str(digest), "source": source}).scalar()
    return None if size is None else int(size)


def delete_blob(unit: Transaction, name: str, digest: Digest) -> None:
    """This repository no longer has it; other repositories keep it. Raises BlobUnknown, NameUnknown, Denied (held)."""
    repository = unit.repository(name)
    if unit.row(_LINK, repository=repository, digest=str(digest)) is None:
        raise BlobUnknown(f"{name} has no blob {digest}")
    unit.check(BlobRemoved(name, repository, str(digest)))
    unlink_blob(unit, repository, str(digest))


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
        marks, values = among(digests[at : at + 500])
        known.update(tx.execute(_CHILDREN + marks, {"name": name, **values}).scalars())
    missing = [each for each in digests if each not in known]
    if missing:
        raise ManifestBlobUnknown(f"push these manifests to {name} first: {', '.join(missing[:5])}", detail=missing)


def _linked(tx: Connection, name: str, digests: Sequence[str]) -> dict[str, int]:
    """Those of them that this repository has, with their sizes."""
    found: dict[str, int] = {}
    for at in range(0, len(digests), 500):
        marks, values = among(digests[at : at + 500])
        found.update((row.digest, row.size) for row in tx.execute(_LINKED + marks, {"name": name, **values}))
    return found
