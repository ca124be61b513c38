"""Several processes over one data folder. Two registries that share a folder stand for them: what they share is
files, flocks and the index, never memory."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUploadUnknown,
    Conflict,
    InsufficientStorage,
    ManifestUnknown,
    RangeInvalid,
    TagImmutable,
    Unavailable,
)
from oci_wire.extension import LeaseRenewal, LeaseRequest
from oci_wire.registry import once
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rules
from registry_node.storage import ownership
from registry_node.storage.errors import DataFolderInUse
from registry_node.storage.store import Store
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, manifest_of, put_blob, put_image

Pair = tuple[LocalRegistry, LocalRegistry]
CONTENT = b"0123456789" * 1000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.clients)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    if request.param == "sqlite":
        return None
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.database()


def pair(folder: Path, dsn: str | None, rules: Rules = Rules()) -> Iterator[Pair]:  # noqa: B008 - frozen
    with closing(Store.prepare(folder, dsn)):
        first, second = (LocalRegistry.open(folder, rules, shared=True, dsn=dsn) for _ in range(2))
        with closing(first), closing(second):
            yield first, second


@pytest.fixture
def shared(tmp_path: Path, dsn: str | None) -> Iterator[Pair]:
    yield from pair(tmp_path, dsn)


@pytest.fixture
def guarded(tmp_path: Path, dsn: str | None) -> Iterator[Pair]:
    yield from pair(tmp_path, dsn, Rules(quota_bytes=1000, immutable_tags=("fixed-*",)))


async def test_a_change_shows_at_once_in_the_other_process(shared: Pair) -> None:
    one, other = shared
    first, second = await put_image(one, "a", b"1", tags=["v"]), await put_image(other, "a", b"2", tags=["w"])
    for number in range(20):
        writer, reader = (one, other) if number % 2 else (other, one)
        wanted = (first, second)[number % 2]
        await writer.put_manifest(CI, "a", wanted, tags=["v"])
        assert reader.reads.resolve("a", "v").digest == wanted.digest
        assert (await reader.resolve(CI, "a", "v")).digest == wanted.digest
    await one.delete_tag(CI, "a", "v")
    with pytest.raises(ManifestUnknown):
        other.reads.resolve("a", "v")


async def test_the_journal_has_each_change_once_and_in_order(shared: Pair) -> None:
    image = await put_image(shared[0], "a", b"1", tags=["v"])
    writes = [shared[number % 2].put_manifest(CI, f"r{number % 3}", image, tags=[f"t{number}"]) for number in range(40)]
    await asyncio.gather(*(put_image(shared[0], f"r{number}", b"1") for number in range(3)))
    await asyncio.gather(*writes)
    lines = [json.loads(line) for line in (shared[0].folder / "journal.ndjson").read_text().splitlines()]
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["tag"] for line in lines if line.get("tag")} == {"v", *(f"t{number}" for number in range(40))}


async def test_what_a_killed_process_did_not_write_down_the_next_one_does(shared: Pair, dsn: str | None) -> None:
    image = await put_image(shared[0], "a", b"1", tags=["v1"])
    journal = shared[0].folder / "journal.ndjson"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"position":3,"repo')  # as if killed in mid-line
    await shared[1].put_manifest(CI, "a", image, tags=["v2"])
    assert journal.read_bytes().startswith(whole)
    assert [json.loads(line)["position"] for line in journal.read_bytes().splitlines()] == [1, 2, 3]
    journal.write_bytes(whole)
    with closing(Store.open(shared[0].folder, dsn=dsn, shared=True)):  # as the one that takes its place
        assert [json.loads(line)["position"] for line in journal.read_bytes().splitlines()] == [1, 2, 3]


async def test_an_upload_goes_on_in_the_other_process(shared: Pair) -> None:
    upload = await shared[0].start_upload(CI, "a")
    for number in range(10):
        registry = shared[number % 2]
        assert (await registry.upload_status(CI, "a", upload.id)).offset == number * 1000
        part = CONTENT[number * 1000 : (number + 1) * 1000]
        grown = await registry.append(CI, "a", upload.id, once(part), start=number * 1000)
        assert grown.offset == (number + 1) * 1000
    digest = Digest.of(CONTENT)
    await shared[0].finish_upload(CI, "a", upload.id, digest)
    assert await (await shared[1].open_blob(CI, "a", digest)).read() == CONTENT
    with pytest.raises(BlobUploadUnknown):
        await shared[1].upload_status(CI, "a", upload.id)


async def test_two_processes_never_interleave_in_one_upload(shared: Pair) -> None:
    """The one that writes first goes on; the other one learns that it was overtaken, and its bytes are not there."""
    upload = await shared[0].start_upload(CI, "a")
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"first " * 200_000
        begun.set()
        await go_on.wait()
        yield b"stale " * 200_000

    old = asyncio.create_task(shared[0].append(CI, "a", upload.id, stalled()))
    await begun.wait()
    until = time.monotonic() + 20
    while (offset := (await shared[1].upload_status(CI, "a", upload.id)).offset) < len(b"first " * 200_000):
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    await shared[1].append(CI, "a", upload.id, once(b"new"), start=offset)
    go_on.set()
    with pytest.raises(RangeInvalid):
        await old
    wanted = b"first " * 200_000 + b"new"
    await shared[1].finish_upload(CI, "a", upload.id, Digest.of(wanted))


@pytest.mark.parametrize("end", ["finish", "cancel"])
async def test_a_stalled_request_cannot_write_to_what_another_process_ended(shared: Pair, end: str) -> None:
    upload = await shared[0].start_upload(CI, "a")
    await shared[0].append(CI, "a", upload.id, once(CONTENT))
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        begun.set()
        await go_on.wait()
        yield b"too late"

    old = asyncio.create_task(shared[0].append(CI, "a", upload.id, stalled()))
    await begun.wait()
    if end == "finish":
        await shared[1].finish_upload(CI, "a", upload.id, Digest.of(CONTENT))
    else:
        await shared[1].cancel_upload(CI, "a", upload.id)
    go_on.set()
    with pytest.raises(BlobUploadUnknown):
        await old
    assert list(shared[0].folder.glob("uploads/*")) == []
    if end == "finish":
        assert await (await shared[0].open_blob(CI, "a", Digest.of(CONTENT))).read() == CONTENT


async def test_quota_and_immutable_tags_hold_between_processes(guarded: Pair) -> None:
    one, other = guarded
    image = await put_image(one, "a", b"1", tags=["fixed-1"])
    changed = await put_image(other, "a", b"2")
    with pytest.raises(TagImmutable):
        await other.put_manifest(CI, "a", changed, tags=["fixed-1"])
    assert one.reads.resolve("a", "fixed-1").digest == image.digest
    pushes = [put_blob(guarded[number % 2], "a", bytes([number]) * 300) for number in range(6)]
    results = await asyncio.gather(*pushes, return_exceptions=True)
    assert sum(isinstance(each, Digest) for each in results) == 3
    assert sum(isinstance(each, InsufficientStorage) for each in results) == 3


async def test_a_lease_of_one_process_binds_the_other(shared: Pair) -> None:
    lease = await shared[0].take_lease(CI, "a", LeaseRequest(holder="engine-1", ttl=60))
    with pytest.raises(Conflict):
        await shared[1].take_lease(CI, "a", LeaseRequest(holder="engine-2", ttl=60))
    renewed = await shared[1].renew_lease(CI, "a", lease.id, LeaseRenewal(token=lease.token, ttl=60))
    assert renewed.token == lease.token
    again = await shared[1].take_lease(CI, "a", LeaseRequest(holder="engine-1", ttl=60))
    assert again.token > lease.token


async def test_who_waits_for_events_is_woken_by_the_other_process(shared: Pair) -> None:
    async def next_events() -> list[str | None]:
        return [event.tag async for event in shared[0].events(CI, after=2, wait=60)]

    image = await put_image(shared[0], "a", b"1", tags=["v1"])
    waiting = [asyncio.create_task(next_events()) for _ in range(3)]
    await asyncio.sleep(0.3)
    await shared[1].put_manifest(CI, "a", image, tags=["v2"])
    for each in waiting:
        assert await asyncio.wait_for(each, 20) == ["v2"]


async def test_a_process_that_keeps_the_turn_makes_the_others_wait_not_fail(
    shared: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await put_image(shared[0], "a", b"1", tags=["v1"])
    with shared[0]._store._turn.mine():
        writing = asyncio.create_task(shared[1].put_manifest(CI, "a", image, tags=["v2"]))
        await asyncio.sleep(0.2)
        assert not writing.done()
        assert shared[1].reads.resolve("a", "v1").digest == image.digest  # readers wait for nobody
    await writing
    monkeypatch.setattr(ownership, "TURN_SECONDS", 0.05)
    with shared[0]._store._turn.mine(), pytest.raises(Unavailable, match="busy writing"):
        await shared[1].put_manifest(CI, "a", image, tags=["v3"])


async def test_the_failed_disk_of_one_process_stops_the_writes_of_all(tmp_path: Path) -> None:
    for one, other in pair(tmp_path, None):
        image = await put_image(one, "a", b"1", tags=["v1"])
        one._store.health.fail("the test")
        with pytest.raises(Unavailable, match="only reads since its disk failed"):
            await other.put_manifest(CI, "a", image, tags=["v2"])
        assert other.reads.resolve("a", "v1").digest == image.digest
    for _, other in pair(tmp_path, None):  # the node was started again
        await other.put_manifest(CI, "a", image, tags=["v2"])


def test_a_shared_folder_belongs_to_its_node(tmp_path: Path) -> None:
    with closing(Store.prepare(tmp_path)):
        with closing(Store.open(tmp_path, shared=True)), pytest.raises(DataFolderInUse):
            Store.open(tmp_path)
        with pytest.raises(DataFolderInUse):
            Store.prepare(tmp_path)
    Store.open(tmp_path).close()


def test_what_a_killed_process_left_in_flight_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    with closing(Store.prepare(tmp_path)), closing(Store.open(tmp_path, shared=True)) as store:
        mine, dead = store.files.temp_path(), store.files.temp / "99999999-left"
        for path in (mine, dead):
            path.write_bytes(b"half")
        store.files.forget_process(99999999)
        assert [mine] == list(store.files.temp.iterdir())
        assert mine.name.startswith(f"{os.getpid()}-")


def test_a_node_waits_for_the_last_processes_of_a_killed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pid is in the lock, and it runs no more, but a worker of it still has the lock."""
    left = ownership.Ownership.take(tmp_path)
    (tmp_path / "lock").write_text("99999999\n")
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            left.close()

    monkeypatch.setattr(ownership.time, "sleep", nap)
    ownership.Ownership.take(tmp_path).close()
    assert len(naps) == 3


async def test_a_long_look_at_the_index_sees_one_state_while_others_write(shared: Pair) -> None:
    image = await put_image(shared[0], "a", b"1", tags=["v1"])
    with shared[0]._store.metadata.reading() as tx:
        before = tx.execute("SELECT count(*) FROM tags").scalar()
        await shared[1].put_manifest(CI, "a", manifest_of(b"1"), tags=["v2", "v3"])
        assert tx.execute("SELECT count(*) FROM tags").scalar() == before
    assert shared[0].reads.resolve("a", "v3").digest == image.digest
