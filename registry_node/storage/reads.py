"""The hot reads: a raw read-only SQLite connection, and what it has said, on the caller's own thread.

Every answer is that of the last commit: it was just asked for, or nothing was committed since that could change it
(epochs.py). A digest is served only from a repository that has it: a deletion shows at once.
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import BlobUnknown, DigestInvalid, ManifestUnknown, NameUnknown, RegistryError
from registry_node.storage.epochs import Epochs
from registry_node.storage.errors import Health, of_database
from registry_node.storage.files import BlobFiles
from registry_node.storage.remembered import Remembered

_TAG = """
FROM repositories r
JOIN tags t ON t.repository_id = r.id
JOIN repo_manifests m ON m.repository_id = r.id AND m.digest = t.digest
WHERE r.name = ? AND t.name = ?"""
_DIGEST = """
FROM repositories r
JOIN repo_manifests m ON m.repository_id = r.id
WHERE r.name = ? AND m.digest = ?"""
_BY_TAG, _NAMED_TAG = f"SELECT m.media_type, m.digest, m.size {_TAG}", f"SELECT m.media_type, m.digest {_TAG}"
_BY_DIGEST, _NAMED_DIGEST = (
    f"SELECT m.media_type, m.digest, m.size {_DIGEST}",
    f"SELECT m.media_type, m.digest {_DIGEST}",
)
_BODY = "SELECT body FROM manifests WHERE digest = ?"
_BLOB = """
SELECT b.size FROM repositories r
JOIN repo_blobs l ON l.repository_id = r.id
JOIN blobs b ON b.digest = l.digest
WHERE r.name = ? AND l.digest = ? AND b.state = 'present'"""
# The upstream that gave a cached manifest of this repository which names a blob: from the blob, since it is new to most.
_GIVER = """
SELECT c.upstream, n.size, n.manifest
FROM manifest_blobs n CROSS JOIN repositories r CROSS JOIN cached_manifests c CROSS JOIN repo_manifests m
WHERE r.name = ? AND n.digest = ?
AND c.repository = r.name AND c.digest = n.manifest AND m.repository_id = r.id AND m.digest = n.manifest LIMIT 1"""
_SET_AT = "SELECT t.pushed_at FROM repositories r JOIN tags t ON t.repository_id = r.id WHERE r.name = ? AND t.name = ?"
_SOURCES = """
SELECT r.name FROM repo_blobs l JOIN repositories r ON r.id = l.repository_id
WHERE l.digest = ? AND r.name > ? ORDER BY r.name LIMIT ?"""
_REPOSITORY = "SELECT rev FROM repositories WHERE name = ?"
_LAST = "SELECT coalesce(max(position), 0) FROM journal"
_UPLOAD = "SELECT algorithm, expires FROM uploads WHERE id = ? AND repository = ? AND identity = ?"


INDEX = "index.db"


@dataclass(frozen=True, slots=True)
class UploadRow:
    algorithm: str
    expires: float


class Looking:
    """An index that is only read, by any thread, one question at a time: SQLite shows all statements of a connection the
    state that the first of them began with, so one that began beside another would see what holds no longer."""

    def __init__(self, path: Path) -> None:
        """Raises sqlite3.Error."""
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1, check_same_thread=False, isolation_level=None
        )

    def rows(self, question: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Raises sqlite3.Error."""
        with self._lock:
            return self._connection.execute(question, values).fetchall()

    def close(self) -> None:
        self._connection.close()


class Reads:
    """Questions that need no thread."""

    def __init__(self, path: Path, health: Health, files: BlobFiles, epochs: Epochs) -> None:
        self._health, self.files = health, files
        self._looking = Looking(path)
        self._remembered = Remembered(epochs, self._row)

    def close(self) -> None:
        self._looking.close()

    def _of_repository(self, question: str, repository: str, value: str) -> Any:
        """One row, of a question whose answer changes with the repository's tags, manifests and blobs alone."""
        return self._remembered.row(question, repository, value)

    def _row(self, question: str, values: tuple[Any, ...]) -> Any:
        rows = self._rows(question, values)
        return rows[0] if rows else None

    def _rows(self, question: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._looking.rows(question, values)
        except sqlite3.Error as error:
            raise of_database(self._health, "the index", error) from error

    def named(self, repository: str, reference: str) -> tuple[str, str] | None:
        """Media type and digest of the manifest that a tag or a digest names now. As text: values would cost more
        than the question."""
        row: tuple[str, str] | None = self._of_repository(
            _NAMED_DIGEST if ":" in reference else _NAMED_TAG, repository, reference
        )
        return row

    def manifest_bytes(self, digest: str) -> bytes | None:
        row = self._row(_BODY, (digest,))
        return None if row is None else bytes(row[0])

    def blob_bytes(self, repository: str, digest: str, most: int) -> bytes | None:
        """A whole small blob of this repository; None: it is not here whole, or has more than ``most`` bytes."""
        size = self.blob_size(repository, digest)
        return None if size is None or size > most else self.files.content(digest, size)

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob of this repository; None: there is none."""
        row = self._of_repository(_BLOB, repository, digest)
        size: int | None = None if row is None else row[0]
        return size

    def resolve(self, repository: str, reference: str) -> Descriptor:
        """What a tag or digest names now. Raises ManifestUnknown, NameUnknown."""
        row = self._of_repository(_BY_DIGEST if ":" in reference else _BY_TAG, repository, reference)
        if row is None:
            raise self._unknown(repository, reference)
        algorithm, _, encoded = row[1].partition(":")
        return Descriptor(row[0], Digest(algorithm, encoded), row[2])

    def body(self, digest: Digest) -> bytes:
        """The bytes of a manifest that ``resolve`` has just found. Raises ManifestUnknown."""
        content = self.manifest_bytes(str(digest))
        if content is None:
            raise ManifestUnknown(f"manifest {digest} is not here")
        return content

    def blob(self, repository: str, digest: Digest) -> Descriptor:
        """A blob of this repository. Raises BlobUnknown, NameUnknown."""
        row = self._of_repository(_BLOB, repository, str(digest))
        if row is None:
            self.rev(repository)
            raise BlobUnknown(f"{repository} has no blob {digest}")
        return Descriptor(OCTET_STREAM, digest, row[0])

    def giver(self, repository: str, digest: str) -> tuple[str, int, str] | None:
        """Of a mirror: who gave a cached manifest of this repository that names the blob, the size that it says, and its
        digest."""
        row: tuple[str, int, str] | None = self._of_repository(_GIVER, repository, digest)
        return row

    def set_at(self, repository: str, tag: str) -> float | None:
        """When a tag was last set, in seconds since the epoch; None: there is no such tag."""
        row = self._of_repository(_SET_AT, repository, tag)
        return None if row is None else float(row[0])

    def blob_sources(self, digest: Digest, *, after: str = "", limit: int = 100) -> tuple[str, ...]:
        """Repositories from which this blob can be mounted, in byte order: the caller checks which ones may be read."""
        return tuple(name for (name,) in self._rows(_SOURCES, (str(digest), after, limit)))

    def rev(self, repository: str) -> int:
        """How many changes the repository has seen. Raises NameUnknown."""
        row = self._row(_REPOSITORY, (repository,))
        if row is None:
            raise NameUnknown(f"there is no repository {repository}")
        return int(row[0])

    def last_position(self) -> int:
        """Of the journal of changes."""
        return int(self._row(_LAST, ())[0])

    def upload(self, session: str, repository: str, identity: str) -> UploadRow | None:
        """None unless the session belongs to this repository and identity."""
        row = self._row(_UPLOAD, (session, repository, identity))
        return UploadRow(row[0], row[1]) if row else None

    def _unknown(self, repository: str, reference: str) -> RegistryError:
        try:
            self.rev(repository)
            if looks_like_digest(reference):
                Digest.parse(reference)
        except (NameUnknown, DigestInvalid) as error:
            return error
        return ManifestUnknown(f"{repository} has no manifest {reference[:140]}")
