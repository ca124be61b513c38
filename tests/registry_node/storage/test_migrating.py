"""An index of an older version becomes one of the newest, with what it holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from oci_wire.digest import Digest
from oci_wire.manifest import Manifest
from registry_node.registries.local import LocalRegistry
from registry_node.storage import cached
from registry_node.storage.blobs import add_blob
from registry_node.storage.changes import Author, Transaction, add_manifest
from registry_node.storage.schema import HEAD
from registry_node.storage.store import Store
from tests.databases import structure
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


async def a_mirrors(folder: Path) -> Manifest:
    """An index of 0004 that has an image whose base layer lies elsewhere, and its bytes as if nobody had named them."""
    image = Holdings().image("win/app", layers=[described(OWN, LAYER), described(BASE, FOREIGN)])
    manifest = Manifest.parse(image.content)

    def work(unit: Transaction) -> None:
        for content in (OWN, BASE):
            add_blob(unit, "win/app", Digest.of(content), len(content))
        add_manifest(unit, "win/app", manifest, Author("towpath-mirror"))
        cached.put_manifest(unit, "win/app", str(manifest.digest), "hub")

    store = Store.open(folder)
    await store.write(work)
    store.close()
    back_to_0004(folder)
    return manifest


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
