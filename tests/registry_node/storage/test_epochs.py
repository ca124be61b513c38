"""What readers may remember of the index: exactly as long as nothing was committed that could change it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, InsufficientStorage, ManifestUnknown, NameUnknown
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rules
from registry_node.storage import remembered
from registry_node.storage.epochs import Epochs, group_of
from registry_node.storage.reads import Reads
from registry_node.storage.remembered import Remembered
from registry_node.storage.store import Store
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, put_blob, put_image


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.clients)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.database()


@pytest.fixture
def local(tmp_path: Path, dsn: str | None) -> Iterator[LocalRegistry]:
    with closing(LocalRegistry.open(tmp_path, dsn=dsn)) as registry:
        yield registry


@pytest.fixture
def asked(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that reach the index."""
    return watched(local.reads, monkeypatch)


def watched(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    rows = reads._rows

    def counted(question: str, values: tuple[object, ...]) -> object:
        asked.append(question)
        return rows(question, values)

    monkeypatch.setattr(reads, "_rows", counted)
    return asked


def parity(folder: Path, repository: str) -> int:
    return Epochs(folder, neighbour=True).numbers[group_of(repository)] % 2


async def test_an_answer_is_asked_for_once_in_an_epoch(local: LocalRegistry, asked: list[str]) -> None:
    image = await put_image(local, "a", b"1", tags=["v"])
    blob = await put_blob(local, "a", b"blob")
    for _ in range(3):
        assert local.reads.resolve("a", "v").digest == local.reads.resolve("a", str(image.digest)).digest
        assert local.reads.named("a", "v") == local.reads.named("a", str(image.digest))
        assert local.reads.named("a", "none") is None
        assert local.reads.blob_bytes("a", str(blob), 100) == b"blob"
    assert len(asked) == 6
    await put_image(local, "b", b"2", tags=["v"])  # of another group
    assert group_of("a") != group_of("b")
    local.reads.resolve("a", "v")
    assert len(asked) == 6


async def test_every_change_shows_at_once(local: LocalRegistry) -> None:
    first, second = await put_image(local, "a", b"1", tags=["v"]), await put_image(local, "a", b"2")
    blob = await put_blob(local, "a", b"blob")
    reads = local.reads
    with pytest.raises(NameUnknown):
        reads.resolve("b", "v")
    assert reads.resolve("a", "v").digest == first.digest
    await local.put_manifest(CI, "a", second, tags=["v"])
    assert reads.resolve("a", "v").digest == second.digest
    assert reads.blob("a", blob).size == 4
    await local.delete_blob(CI, "a", blob)
    with pytest.raises(BlobUnknown):
        reads.blob("a", blob)
    await local.delete_manifest(CI, "a", second.digest)
    for reference in ("v", str(second.digest)):
        with pytest.raises(ManifestUnknown):
            reads.resolve("a", reference)
    await put_image(local, "b", b"1", tags=["v"])
    assert reads.resolve("b", "v").digest == first.digest


async def test_a_reader_asks_while_a_commit_is_in_doubt(local: LocalRegistry, asked: list[str], tmp_path: Path) -> None:
    """As if a writer had died between its commit and the new epoch."""
    await put_image(local, "a", b"1", tags=["v"])
    for _ in range(3):
        local.reads.resolve("a", "v")
    assert len(asked) == 1
    Epochs(tmp_path).doubt(["a"])
    for _ in range(3):
        local.reads.resolve("a", "v")
    assert len(asked) == 4
    await local.delete_tag(CI, "a", "v")  # the next writer settles it
    assert parity(tmp_path, "a") == 0
    for _ in range(3):
        with pytest.raises(ManifestUnknown):
            local.reads.resolve("a", "v")


async def test_doubt_begins_before_the_commit_and_ends_after_it(
    local: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await put_image(local, "a", b"1", tags=["v"])
    seen: list[tuple[str, int]] = []
    doubt, settle = Epochs.doubt, Epochs.settle

    def before(self: Epochs, repositories: set[str]) -> None:
        doubt(self, repositories)
        seen.append((committed(), parity(tmp_path, "a")))

    def after(self: Epochs, repositories: set[str]) -> None:
        seen.append((committed(), parity(tmp_path, "a")))
        settle(self, repositories)

    def committed() -> str:
        return "committed" if local.reads.named("a", "new") else "open"

    monkeypatch.setattr(Epochs, "doubt", before)
    monkeypatch.setattr(Epochs, "settle", after)
    await local.put_manifest(CI, "a", image, tags=["new"])
    assert seen == [("open", 1), ("committed", 1)]
    assert parity(tmp_path, "a") == 0


async def test_a_commit_between_question_and_answer_is_not_remembered(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = await put_image(local, "a", b"1", tags=["v"]), await put_image(local, "a", b"2")
    rows = local.reads._rows
    loop = asyncio.get_running_loop()

    def overtaken(question: str, values: tuple[object, ...]) -> object:
        found = rows(question, values)
        writing = asyncio.run_coroutine_threadsafe(local.put_manifest(CI, "a", new, tags=["v"]), loop)
        writing.result(20)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(local.reads, "_rows", overtaken)
        assert (await asyncio.to_thread(local.reads.resolve, "a", "v")).digest == old.digest
    assert local.reads.resolve("a", "v").digest == new.digest


async def test_a_refused_change_leaves_no_doubt(tmp_path: Path) -> None:
    with closing(LocalRegistry.open(tmp_path, Rules(quota_bytes=10))) as local:
        await put_blob(local, "a", b"{}")
        with pytest.raises(InsufficientStorage):
            await put_blob(local, "a", b"too much for this quota")
        assert parity(tmp_path, "a") == 0


def test_a_node_that_starts_begins_with_numbers_that_were_never_used(tmp_path: Path, dsn: str | None) -> None:
    numbers = set()
    for _ in range(3):
        Store.open(tmp_path, dsn=dsn).close()
        numbers.update(Epochs(tmp_path, neighbour=True).numbers[:4096])
    assert len(numbers) == 3
    kept = (tmp_path / "epochs").read_bytes()
    Store.open(tmp_path, dsn=dsn).close()
    numbers.update(Epochs(tmp_path, neighbour=True).numbers[:4096])
    (tmp_path / "epochs").write_bytes(kept)  # as a backup would
    Store.open(tmp_path, dsn=dsn).close()
    numbers.update(Epochs(tmp_path, neighbour=True).numbers[:4096])
    assert len(numbers) == 5
    assert not any(number % 2 for number in numbers)


def test_the_file_of_an_older_version_grows(tmp_path: Path) -> None:
    (tmp_path / "epochs").write_bytes(bytes(4097 * 8))
    with closing(Store.open(tmp_path)):
        assert parity(tmp_path, "a") == 0


def test_what_is_remembered_is_bounded_and_what_is_asked_for_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "ENTRIES", 10)
    asked: list[str] = []

    def ask(question: str, values: tuple[str, str]) -> str:
        asked.append(values[1])
        return values[1]

    memory = Remembered(Epochs(tmp_path), ask)
    for number in range(1000):
        assert memory.row("?", "a", "often") == "often"
        assert memory.row("?", "a", str(number)) == str(number)
        assert len(memory) <= 20
    assert asked.count("often") == 1
    assert len(asked) == 1001
    memory.forget()
    memory.row("?", "a", "often")
    assert asked.count("often") == 2


def test_what_is_remembered_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "BYTES", 10_000)
    memory = Remembered(Epochs(tmp_path), lambda question, values: None)
    for number in range(1000):
        memory.row("?", "a", f"{number:0600}")
        memory.row("?", "a", f"{number:0600}")
    assert len(memory) <= 22


async def test_sessions_of_uploads_are_never_remembered(local: LocalRegistry, asked: list[str]) -> None:
    session = await local.start_upload(CI, "a")
    for _ in range(2):
        assert local.reads.upload(session.id, "a", CI.identity) is not None
    assert len(asked) == 2
    await local.cancel_upload(CI, "a", session.id)
    assert local.reads.upload(session.id, "a", CI.identity) is None


async def test_a_blob_that_came_is_found_at_once(local: LocalRegistry) -> None:
    digest = Digest.of(b"late")
    await put_blob(local, "a", b"first")
    with pytest.raises(BlobUnknown):
        local.reads.blob("a", digest)
    assert local.reads.blob_bytes("a", str(digest), 100) is None
    await put_blob(local, "a", b"late")
    assert local.reads.blob_bytes("a", str(digest), 100) == b"late"
