"""Plays journal lines back into an index that lost them: after a lost, damaged or restored database.

What comes back: repositories with their revs, manifests (from the content store), tags, the right to serve the
blobs of those manifests, receipts of tag transactions. What does not: blobs that no manifest names, upload
sessions, leases and holds. Fencing tokens do not fall back: they come from the clock (``leases.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.manifest import Manifest
from registry_node.storage.blobs import link_blob
from registry_node.storage.changes import LINE, Transaction, link_manifest, store_manifest, unlink_manifest
from registry_node.storage.files import BlobFiles
from registry_node.storage.statements import insert, put
from registry_node.storage.transactions import restore_receipt

_PUT_BLOB = put("blobs", "digest", "size state touched_at", change="")
_PUT_TAG = insert("tags", "repository_id name digest rev pushed_at")
_DROP_TAG = "DELETE FROM tags WHERE repository_id = :repository_id AND name = :name"
_SET_REV = "UPDATE repositories SET rev = :rev WHERE id = :id"
_RECORD = insert("journal", f"position {LINE}")
_NO_VALUES = dict.fromkeys(LINE.split())
log = logging.getLogger(__name__)


def replay(unit: Transaction, files: BlobFiles, lines: Iterable[dict[str, Any]]) -> int:
    """How many lines were played back."""
    count = 0
    for line in lines:
        repository = unit.ensure_repository(line["repository"])
        if line["position"]:  # not what a snapshot tells
            unit.tx.execute(_RECORD, {**_NO_VALUES, **line})
        unit.tx.execute(_SET_REV, {"id": repository, "rev": line["rev"]})
        _PLAY[line["kind"]](unit, files, repository, line)
        count += 1
    return count


def _tag(unit: Transaction, files: BlobFiles, repository: int, line: dict[str, Any]) -> None:
    here = {"repository_id": repository, "name": line["tag"]}
    unit.tx.execute(_DROP_TAG, here)
    if line.get("digest"):
        values = {"digest": line["digest"], "rev": line["rev"], "pushed_at": line.get("pushed_at") or line["at"]}
        unit.tx.execute(_PUT_TAG, {**here, **values})
    if line.get("txid"):
        restore_receipt(unit, line)


def _manifest(unit: Transaction, files: BlobFiles, repository: int, line: dict[str, Any]) -> None:
    digest = Digest.parse(line["digest"])
    try:
        content = files.path(digest).read_bytes()
        manifest = Manifest.parse(content, line["media_type"], algorithm=digest.algorithm)
    except (OSError, RegistryError) as error:
        log.error("%s of %s could not be brought back: %s", digest, line["repository"], error)
        return
    if manifest.digest != digest:
        log.error("%s of %s could not be brought back: its bytes are damaged", digest, line["repository"])
        return
    store_manifest(unit, manifest)
    link_manifest(unit, repository, manifest)
    for each in manifest.blobs:
        _blob(unit, files, repository, each.digest)


def _blob(unit: Transaction, files: BlobFiles, repository: int, digest: Digest) -> None:
    size = files.size(digest)
    if size is None:
        return
    values = {"digest": str(digest), "size": size, "state": "present", "touched_at": unit.clock()}
    unit.tx.execute(_PUT_BLOB, values)
    link_blob(unit, repository, str(digest))


def _deleted(unit: Transaction, files: BlobFiles, repository: int, line: dict[str, Any]) -> None:
    unlink_manifest(unit, repository, line["old"])


_PLAY = {"tag": _tag, "manifest": _manifest, "manifest-deleted": _deleted}
