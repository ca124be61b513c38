"""An index of an older version becomes one of the newest, with what it holds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import Manifest
from registry_node.registries.local import LocalRegistry
from registry_node.storage import cached
from registry_node.storage.blobs import add_blob
from registry_node.storage.changes import Author, Transaction, add_manifest
from registry_node.storage.schema import HEAD
from registry_node.storage.store import Store
from tests.databases import structure
from tests.postgresql import Cluster
from tests.registry_node.unneeded import looked_for, written_down
from tests.upstreams.holdings import LAYER, Holdings, described

BASE, OWN = b"lies elsewhere", b"layer"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_BACK = """
ALTER TABLE repo_blobs DROP COLUMN giver;
UPDATE alembic_version SET version_num = '0004';
"""


def back_to_0004(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index.db")) as db:
        db.executescript(_BACK)


def _cached(unit: Transaction, manifest: Manifest) -> None:
    add_manifest(unit, "win/app", manifest, Author("towpath-mirror"))
    cached.put_manifest(unit, "win/app", str(manifest.digest), "hub")


async def a_mirrors(folder: Path, dsn: str = "") -> Manifest:
    """An index of 0004 that has an image whose base layer lies elsewhere, and its bytes as if nobody had named them."""
    image = Holdings().image("win/app", layers=[described(OWN, LAYER), described(BASE, FOREIGN)])
    manifest = Manifest.parse(image.content)

    def work(unit: Transaction) -> None:
        for content in (OWN, BASE):
            add_blob(unit, "win/app", Digest.of(content), len(content))
        _cached(unit, manifest)

    store = Store.open(folder, dsn=dsn)
    await store.write(work)
    store.close()
    if dsn:
        with psycopg.connect(dsn) as db:
            db.execute(_BACK)
    else:
        back_to_0004(folder)
    return manifest


async def test_an_older_copy_without_layers_keeps_no_node_from_starting(tmp_path: Path) -> None:
    """``null`` is none for whoever reads a manifest, and Go writes every ``&`` of a text as one of the escapes."""
    body = json.loads(Holdings().image("win/app").content)
    text = json.dumps({**body, "layers": None, "annotations": {"of": "R&D"}}).replace("&", "\\u0026")
    manifest = Manifest.parse(text.encode())
    store = Store.open(tmp_path)
    await store.write(lambda unit: _cached(unit, manifest))
    store.close()
    back_to_0004(tmp_path)
    store = Store.open(tmp_path)
    assert store.reads.manifest_bytes(str(manifest.digest)) == text.encode()
    store.close()


@pytest.mark.clients
async def test_the_same_in_postgresql(tmp_path: Path, cluster: Cluster) -> None:
    dsn = cluster.database()
    manifest = await a_mirrors(tmp_path, dsn)
    store = Store.open(tmp_path, dsn=dsn)
    assert store.reads.giver("win/app", str(Digest.of(BASE))) == ("hub", len(BASE), str(manifest.digest))
    with store.metadata.reading() as tx:
        assert tx.execute("SELECT version_num FROM alembic_version").scalar() == HEAD
        assert written_down(tx) == looked_for(tx)
        assert not cached.blob_came_from(tx, str(Digest.of(OWN)), "hub")
    assert store.reads.blob_size("win/app", str(Digest.of(OWN))) == len(OWN)
    store.close()


async def test_layers_that_lie_elsewhere_are_learned_of_older_copies(tmp_path: Path) -> None:
    manifest = await a_mirrors(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.db")) as db:
        assert (str(Digest.of(BASE)),) in db.execute("SELECT digest FROM unneeded").fetchall()
    store = Store.open(tmp_path)
    known = store.reads.giver("win/app", str(Digest.of(BASE)))
    assert known == ("hub", len(BASE), str(manifest.digest))
    with store.metadata.reading() as tx:
        assert str(Digest.of(BASE)) not in {digest for _, digest in written_down(tx)[1]}
        assert written_down(tx) == looked_for(tx)
        assert not cached.blob_came_from(tx, str(Digest.of(OWN)), "hub")
    assert store.reads.blob_size("win/app", str(Digest.of(OWN))) == len(OWN)
    store.close()


async def test_an_index_of_0004_becomes_one_of_the_newest(tmp_path: Path) -> None:
    await a_mirrors(tmp_path / "old")
    for folder in ("old", "new"):
        LocalRegistry.open(tmp_path / folder).close()
    assert structure(tmp_path / "old" / "index.db") == structure(tmp_path / "new" / "index.db")
    with closing(sqlite3.connect(tmp_path / "old" / "index.db")) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
