"""Another node's content by its files, read-only: through its changes, its restarts and the replacement of its index."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from oci_wire.errors import ManifestUnknown, Unavailable
from registry_node.registries.local import LocalRegistry
from registry_node.storage.epochs import Epochs
from registry_node.storage.errors import NeighbourUnreadable
from registry_node.storage.neighbour import Neighbour
from registry_node.storage.store import Store
from tests.registry_node.pushes import CI, put_blob, put_image


async def test_it_answers_as_the_node_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(LocalRegistry.open(tmp_path)) as node, closing(Neighbour(tmp_path)) as neighbour:
        for content in (b"1", b"2", b"3"):
            image = await put_image(node, "a", content, tags=["v"])
            blob = await put_blob(node, "a", content)
            assert neighbour.resolve("a", "v").digest == image.digest
            assert neighbour.body(image.digest) == image.content
            assert neighbour.blob_bytes("a", str(blob), 10) == content
            assert neighbour.files.path(blob).read_bytes() == content
            assert neighbour.blob_sources(blob) == ("a",)
        await node.delete_tag(CI, "a", "v")
        with pytest.raises(ManifestUnknown):
            neighbour.resolve("a", "v")


async def test_it_remembers_for_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fresh = Neighbour._asked

    def counted(self: Neighbour, connection: sqlite3.Connection, question: str, values: tuple[object, ...]) -> object:
        asked.append(question)
        return fresh(self, connection, question, values)

    monkeypatch.setattr(Neighbour, "_asked", counted)
    with closing(LocalRegistry.open(tmp_path)) as node, closing(Neighbour(tmp_path)) as neighbour:
        image = await put_image(node, "a", b"1", tags=["v"])
        for _ in range(3):
            assert neighbour.named("a", "v") == (image.media_type, str(image.digest))
        assert len(asked) == 1
        Epochs(tmp_path).doubt(["a"])
        for _ in range(3):
            neighbour.named("a", "v")
        assert len(asked) == 4


async def test_it_changes_nothing(tmp_path: Path) -> None:
    with closing(LocalRegistry.open(tmp_path)) as node, closing(Neighbour(tmp_path)) as neighbour:
        await put_image(node, "a", b"1", tags=["v"])
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            neighbour._view.looking.rows("DELETE FROM tags")
        with pytest.raises(TypeError, match="read-only"):
            neighbour._view.epochs.doubt(["a"])


def lost_index(folder: Path) -> None:
    for file in folder.glob("index.db*"):
        file.unlink()


def another_folder(folder: Path) -> None:
    """What a backup brings back: the old folder was put aside."""
    folder.rename(folder.with_name("aside"))
    shutil.copytree(folder.with_name("aside"), folder)


@pytest.mark.parametrize("meanwhile", [lambda folder: None, lost_index, another_folder])
async def test_it_goes_on_after_a_restart(tmp_path: Path, meanwhile: Callable[[Path], None]) -> None:
    folder = tmp_path / "data"
    with closing(LocalRegistry.open(folder)) as node:
        first, second = await put_image(node, "a", b"1", tags=["v"]), await put_image(node, "a", b"2")
        neighbour = Neighbour(folder)
        assert neighbour.named("a", "v") == (first.media_type, str(first.digest))
    with closing(neighbour):
        assert neighbour.named("a", "v") == (first.media_type, str(first.digest))  # nobody can change it now
        meanwhile(folder)
        with closing(LocalRegistry.open(folder)) as node:
            assert neighbour.named("a", "v") == (first.media_type, str(first.digest))
            await node.put_manifest(CI, "a", second, tags=["v"])
            assert neighbour.named("a", "v") == (second.media_type, str(second.digest))
            assert neighbour.last_position() == node.reads.last_position()


async def test_it_waits_for_a_node_that_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(LocalRegistry.open(tmp_path)) as node:
        image = await put_image(node, "a", b"1", tags=["v"])
    seen: list[BaseException] = []
    agree = Store._agree

    def looked(self: Store) -> None:
        with pytest.raises(Unavailable, match="its node is starting") as refused:
            neighbour.named("a", "v")
        seen.append(refused.value)
        with pytest.raises(NeighbourUnreadable, match="its node is starting"):
            Neighbour(tmp_path)
        agree(self)

    with closing(Neighbour(tmp_path)) as neighbour:
        neighbour.named("a", "v")
        monkeypatch.setattr(Store, "_agree", looked)
        with closing(LocalRegistry.open(tmp_path)):
            assert neighbour.named("a", "v") == (image.media_type, str(image.digest))
    assert len(seen) == 1


async def test_an_update_to_another_schema_is_noticed(tmp_path: Path) -> None:
    with closing(LocalRegistry.open(tmp_path)) as node:
        await put_image(node, "a", b"1", tags=["v"])
        with closing(Neighbour(tmp_path)) as neighbour, closing(sqlite3.connect(tmp_path / "index.db")) as index:
            neighbour.named("a", "v")
            index.execute("UPDATE alembic_version SET version_num = '9999'")
            index.commit()
            Epochs(tmp_path).begin(neighbours=True)
            Epochs(tmp_path).heal()
            with pytest.raises(Unavailable, match="another version of towpath wrote its index"):
                neighbour.named("a", "v")
            with pytest.raises(NeighbourUnreadable, match="run the same one for both"):
                Neighbour(tmp_path)


def test_what_is_no_readable_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NeighbourUnreadable, match="no node of this version has started there"):
        Neighbour(tmp_path)
    (tmp_path / "epochs").write_bytes(b"half")
    with pytest.raises(NeighbourUnreadable, match="no node of this version has started there"):
        Neighbour(tmp_path)
    Epochs(tmp_path).begin(neighbours=False)  # as a node whose index is in PostgreSQL
    Epochs(tmp_path).heal()
    with pytest.raises(NeighbourUnreadable, match="its index is not a file there"):
        Neighbour(tmp_path)
    Epochs(tmp_path).begin(neighbours=True)
    Epochs(tmp_path).heal()
    with pytest.raises(NeighbourUnreadable, match="its index cannot be read"):
        Neighbour(tmp_path)
    assert not (tmp_path / "index.db").exists()


async def test_a_folder_that_goes_away(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with closing(LocalRegistry.open(folder)) as node:
        await put_image(node, "a", b"1", tags=["v"])
        neighbour = Neighbour(folder)
    with closing(neighbour):
        shutil.rmtree(folder)
        with pytest.raises(Unavailable, match="is not there"):
            neighbour.named("a", "v")
