"""A data folder as it is after years of pushes: a million tags, written straight into its index.

    python -m bench.large_index FOLDER [--repositories 1000] [--tags 1000] [--images 20] [--layers 10] [--left 0]

The node makes the empty folder (its own schema, so this follows every migration), then one transaction adds rows:
for each repository ``images`` manifests of ``layers`` blobs each, and ``tags`` tags that take turns over them, each with
its line in the journal. ``left`` blobs of each were pushed for no manifest, and as many are content that no repository
has. The next start of the node brings journal.ndjson up to date. No content files are made:
manifests are served out of the index, blobs are not there.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from oci_wire.manifest import OCI_MANIFEST
from registry_node.registries.local import LocalRegistry

CONFIG_TYPE, LAYER_TYPE = "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_BYTES = 30 * 1024 * 1024


def repository(number: int) -> str:
    return f"bench/team-{number % 50}/r{number}"


def tag(number: int) -> str:
    return f"v1.{number}"


def fill(folder: Path, *, repositories: int, tags: int, images: int, layers: int, left: int = 0) -> None:
    """``folder``: the data folder of a node, empty or missing. ``tags``, ``images``: in each repository."""
    LocalRegistry.open(folder).close()
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-1500000")  # KiB: digests come in no order, and all trees grow at once
        db.execute("BEGIN")
        for number in range(repositories):
            _repository(db, number, tags, images, layers)
            _left(db, number, left)
        db.execute(
            "INSERT OR REPLACE INTO figures SELECT 'used_bytes', sum(size) FROM blobs "
            "WHERE digest NOT IN (SELECT digest FROM unlinked)"
        )
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    LocalRegistry.open(folder).close()  # the journal learns of it all


def _repository(db: sqlite3.Connection, number: int, tags: int, images: int, layers: int) -> None:
    now, name = time.time(), repository(number)
    key = db.execute("INSERT INTO repositories (name, rev, created) VALUES (?, ?, ?)", (name, tags, now)).lastrowid
    manifests = [_manifest(name, image, layers) for image in range(images)]
    digests = [_digest(body) for body, _ in manifests]
    blobs = sorted({blob for _, used in manifests for blob in used})
    for table, rows in {
        "blobs": ((blob, LAYER_BYTES, "present", now) for blob in blobs),
        "repo_blobs": ((key, blob, now, None) for blob in blobs),
        "manifests": (
            (digest, body, len(body), CONFIG_TYPE, None, "{}", now)
            for digest, (body, _) in zip(digests, manifests, strict=True)
        ),
        "repo_manifests": (
            (key, digest, OCI_MANIFEST, len(body), None, now)
            for digest, (body, _) in zip(digests, manifests, strict=True)
        ),
        "manifest_blobs": (
            (digest, blob, LAYER_BYTES) for digest, (_, used) in zip(digests, manifests, strict=True) for blob in used
        ),
        "tags": ((key, tag(each), digests[each % images], each + 1, now) for each in range(tags)),
    }.items():
        _insert(db, table, rows)
    news = ((name, each + 1, "tag", tag(each), digests[each % images], "bench", now, now) for each in range(tags))
    db.executemany(
        "INSERT INTO journal (repository, rev, kind, tag, digest, actor, at, pushed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        news,
    )


def _left(db: sqlite3.Connection, number: int, left: int) -> None:
    """What nobody needs: blobs that one repository has, and blobs that none has."""
    now, name = time.time(), repository(number)
    (key,) = db.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    loose, lost = ([_digest(f"{name} {kind} {each}".encode()) for each in range(left)] for kind in ("loose", "lost"))
    _insert(db, "blobs", ((blob, LAYER_BYTES, "present", now) for blob in (*loose, *lost)))
    _insert(db, "repo_blobs", ((key, blob, now, None) for blob in loose))
    _insert(db, "unneeded", ((key, blob, now) for blob in loose))
    _insert(db, "unlinked", ((blob, now) for blob in lost))


def _insert(db: sqlite3.Connection, table: str, rows: Iterator[tuple[object, ...]]) -> None:
    columns = len(db.execute(f"PRAGMA table_info({table})").fetchall())
    db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", rows)


def _manifest(name: str, image: int, layers: int) -> tuple[bytes, list[str]]:
    """Its bytes and its blobs. Half of the layers are those of the image before, as in real histories."""
    config = _digest(f"{name} config {image}".encode())
    used = [_digest(f"{name} layer {image if each % 2 else image // 4}.{each}".encode()) for each in range(layers)]
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": LAYER_BYTES},
        "layers": [{"mediaType": LAYER_TYPE, "digest": each, "size": LAYER_BYTES} for each in used],
    }
    return json.dumps(body).encode(), [config, *used]


def _digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repositories", type=int, default=1000)
    parser.add_argument("--tags", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--left", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    fill(
        given.folder,
        repositories=given.repositories,
        tags=given.tags,
        images=given.images,
        layers=given.layers,
        left=given.left,
    )
    print(f"{given.repositories * given.tags} tags in {given.folder}, {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
