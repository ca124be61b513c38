"""Group commit: many units of work, one transaction. Each gets its own answer, and what fails leaves nothing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import InsufficientStorage, ManifestUnknown, NameUnknown, TagImmutable, Unavailable
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rules
from registry_node.storage.changes import Author, Transaction, set_tag
from registry_node.storage.ownership import Turn
from registry_node.storage.store import Store
from tests.databases import limit_pages
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, manifest_of, put_blob, put_image

ME = Author("me")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.clients)])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalRegistry]:
    dsn = None
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        dsn = cluster.database()
    with closing(LocalRegistry.open(tmp_path, Rules(immutable_tags=("fixed-*",)), dsn=dsn)) as registry:
        yield registry


@asynccontextmanager
async def held_back(registry: LocalRegistry, count: int) -> AsyncIterator[None]:
    """What is asked within the block, ``count`` units, waits until its end, and then makes one group."""
    store = registry._store
    other = Turn(registry.folder)
    try:
        await until(lambda: not store._commits._busy)
        with other.mine():
            first = asyncio.create_task(store.write(lambda unit: None))
            await until(lambda: store._commits._busy and not store._commits._waiting)
            yield
            await until(lambda: len(store._commits._waiting) == count)
    finally:
        other.close()
    await first


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


@contextmanager
def counted(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """One entry for each writing transaction: whether it was durable."""
    writing, seen = registry._store.metadata.writing, list[bool]()

    def count(*, durable: bool = True) -> Any:
        seen.append(durable)
        return writing(durable=durable)

    with monkeypatch.context() as patched:
        patched.setattr(registry._store.metadata, "writing", count)
        yield seen


def tagging(name: str, digest: Digest | None) -> Callable[[Transaction], str]:
    def work(unit: Transaction) -> str:
        set_tag(unit, "a", name, str(digest) if digest else None, ME)
        return name

    return work


def lines(registry: LocalRegistry) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (registry.folder / "journal.ndjson").read_text().splitlines()]


async def test_those_that_wait_share_one_commit(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    image = await put_image(local, "a")
    with counted(local, monkeypatch) as seen:
        async with held_back(local, 20):
            asked = [asyncio.create_task(local._store.write(tagging(f"v{n:02}", image.digest))) for n in range(20)]
        assert await asyncio.gather(*asked) == [f"v{n:02}" for n in range(20)]  # each its own answer
    assert seen == [True, True]
    tagged = [line for line in lines(local) if line["kind"] == "tag"]
    assert [line["tag"] for line in tagged] == [f"v{n:02}" for n in range(20)]  # in the order in which they were asked
    assert [line["position"] for line in lines(local)] == list(range(1, len(lines(local)) + 1))
    assert len({line["rev"] for line in tagged}) == 20  # each a change of its own


async def test_a_group_is_durable_when_one_of_it_must_be(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(local, monkeypatch) as seen:
        async with held_back(local, 2):
            quick = [asyncio.create_task(local._store.write(lambda unit: 1, durable=False)) for _ in range(2)]
        await asyncio.gather(*quick)
        async with held_back(local, 2):
            mixed = [asyncio.create_task(local._store.write(lambda unit: 1, durable=each)) for each in (True, False)]
        await asyncio.gather(*mixed)
    assert seen == [True, False, True, True]


async def test_what_is_refused_leaves_nothing_and_the_others_land(local: LocalRegistry) -> None:
    image = await put_image(local, "a")

    def half_done(unit: Transaction) -> None:
        set_tag(unit, "a", "half", str(image.digest), ME)
        unit.ensure_repository("never")
        raise ManifestUnknown("this unit ends here")

    def broken(unit: Transaction) -> None:
        set_tag(unit, "a", "broken", str(image.digest), ME)
        unit.tx.execute("SELECT nothing FROM nowhere")

    async with held_back(local, 4):
        works: list[Callable[[Transaction], Any]] = [
            tagging("v1", image.digest),
            half_done,
            broken,
            tagging("v2", image.digest),
        ]
        asked = [asyncio.create_task(local._store.write(work)) for work in works]
    first, refused, failed, last = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, last) == ("v1", "v2")
    assert isinstance(refused, ManifestUnknown)
    assert isinstance(failed, Exception)
    assert "index failed" in str(failed)
    assert list((await local.tags(CI, "a")).items) == ["v1", "v2"]
    assert [line["tag"] for line in lines(local) if line["kind"] == "tag"] == ["v1", "v2"]
    with pytest.raises(NameUnknown):
        local.reads.rev("never")


async def test_a_unit_sees_what_those_before_it_did(local: LocalRegistry) -> None:
    one, two = await put_image(local, "a", b"1"), await put_image(local, "a", b"2")
    async with held_back(local, 3):
        asked = [
            asyncio.create_task(local.put_manifest(CI, "a", one, tags=["fixed-1"])),
            asyncio.create_task(local._store.write(tagging("fixed-1", two.digest))),
        ]
        await until(lambda: len(local._store._commits._waiting) == 2)
        asked.append(asyncio.create_task(local.delete_tag(CI, "a", "fixed-1")))  # type: ignore[arg-type]
    results = await asyncio.gather(*asked, return_exceptions=True)
    kinds = {type(each) for each in results}
    assert TagImmutable in kinds
    assert local.reads.resolve("a", "fixed-1").digest in (one.digest, two.digest)


async def test_a_cancelled_caller_does_not_stop_its_unit_nor_the_others(local: LocalRegistry) -> None:
    image = await put_image(local, "a")
    async with held_back(local, 3):
        asked = [asyncio.create_task(local._store.write(tagging(f"v{n}", image.digest))) for n in range(3)]
        await until(lambda: len(local._store._commits._waiting) == 3)
        asked[1].cancel()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert (results[0], results[2]) == ("v0", "v2")
    assert isinstance(results[1], asyncio.CancelledError)
    assert list((await local.tags(CI, "a")).items) == ["v0", "v1", "v2"]


async def test_when_the_commit_fails_nobody_is_told_that_it_landed(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is anybody refused for what one of the same group would have done."""
    image = await put_image(local, "a")
    writing = local._store.metadata.writing

    @contextmanager
    def failing(*, durable: bool = True) -> Iterator[Any]:
        with writing(durable=durable) as tx:
            yield tx
            if tx.execute("SELECT count(*) FROM tags").scalar():
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
                raise error

    other = await put_image(local, "a", b"2")
    with monkeypatch.context() as broken:
        broken.setattr(local._store.metadata, "writing", failing)
        async with held_back(local, 3):
            works = [tagging("fixed-1", image.digest), tagging("fixed-1", other.digest), tagging("v1", image.digest)]
            asked = [asyncio.create_task(local._store.write(work)) for work in works]
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in results] == [Unavailable] * 3
    assert list((await local.tags(CI, "a")).items) == []
    with pytest.raises(Unavailable, match="only reads"):  # never asked of that disk again
        await local._store.write(tagging("v1", image.digest))


async def test_those_that_wait_when_the_disk_fails_are_refused(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await put_image(local, "a")
    async with held_back(local, 1):
        waiting = asyncio.create_task(local._store.write(tagging("v1", image.digest)))
        await until(lambda: len(local._store._commits._waiting) == 1)
        monkeypatch.setattr(local._store.health, "on_failure", lambda: None)  # the mark could not be written either
        local._store.health.fail("the test")
    with pytest.raises(Unavailable, match="only reads"):
        await waiting
    assert list((await local.tags(CI, "a")).items) == []


async def test_the_store_closes_after_what_was_asked(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    asked = [asyncio.create_task(store.write(lambda unit, n=n: unit.ensure_repository(f"r{n}"))) for n in range(50)]  # type: ignore[misc]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert await asyncio.gather(*asked) == list(range(1, 51))
    with closing(Store.open(tmp_path)) as again:
        assert again.reads.rev("r49") == 0


async def test_want_of_space_fails_only_what_does_not_fit(tmp_path: Path) -> None:
    """SQLite's own limit stands in for a full disk."""
    with closing(LocalRegistry.open(tmp_path)) as local:
        await put_image(local, "a", b"one")
        metadata = local._store.metadata
        with metadata.reading() as tx:
            pages = tx.execute("PRAGMA page_count").scalar()
        restore = limit_pages(metadata, pages + 3)
        large = manifest_of(b"one", annotations={"large": "x" * 200_000})
        small = [manifest_of(b"one", annotations={"small": str(n)}) for n in range(3)]
        async with held_back(local, 4):
            images = [small[0], large, *small[1:]]
            asked = [
                asyncio.create_task(local.put_manifest(CI, "a", each, tags=[f"v{n}"])) for n, each in enumerate(images)
            ]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(each, InsufficientStorage) for each in results] == [False, True, False, False]
        assert list((await local.tags(CI, "a")).items) == ["v0", "v2", "v3"]
        restore()
        await local.put_manifest(CI, "a", large, tags=["v1"])
        tagged = sorted(line["tag"] for line in lines(local) if line["kind"] == "tag")
        assert tagged == ["v0", "v1", "v2", "v3"]
        assert [line["position"] for line in lines(local)] == list(range(1, len(lines(local)) + 1))


async def test_blobs_of_many_callers_at_once(local: LocalRegistry) -> None:
    contents = [f"content {n}".encode() for n in range(60)]
    digests = await asyncio.gather(*(put_blob(local, f"r{n % 7}", each) for n, each in enumerate(contents)))
    for n, each in enumerate(digests):
        assert await (await local.open_blob(CI, f"r{n % 7}", each)).read() == contents[n]
