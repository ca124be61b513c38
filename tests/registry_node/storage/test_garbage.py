"""What nobody needs: what is written down is always what a look at everything finds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rules
from registry_node.storage import changes, eviction, garbage
from registry_node.storage.blobs import add_blob, blob_size, delete_blob
from registry_node.storage.changes import Author, Transaction
from registry_node.storage.sql import Connection
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, index_of, manifest_of, put_blob, put_image
from tests.registry_node.registries.conftest import Clock
from tests.registry_node.unneeded import looked_for, written_down

ME = Author("me")
REPOSITORIES, BLOBS = ("a", "b/c", "d"), (b"{}", b"one", b"two", b"three")
IMAGES = (manifest_of(b"one"), manifest_of(b"one", b"two"), manifest_of(b"three"), manifest_of(b"two", config=b"one"))
MANIFESTS = (*IMAGES, index_of(*IMAGES[:2]))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.clients)])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], LocalRegistry]:
    """Opens the same folder and index each time."""
    dsn = None
    if request.param == "postgresql":
        cluster: Cluster = request.getfixturevalue("cluster")
        dsn = cluster.database()
    return partial(LocalRegistry.open, tmp_path, Rules(), clock=clock, dsn=dsn)


@pytest.fixture
def local(opened: Callable[[], LocalRegistry]) -> Iterator[LocalRegistry]:
    with closing(opened()) as registry:
        yield registry


def digest_of(content: bytes) -> Digest:
    return Digest.of(content)


# What may happen to an index, each in a transaction that it is given.


def _push_blob(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    add_blob(unit, repository, digest_of(blob), len(blob))


def _delete_blob(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    delete_blob(unit, repository, digest_of(blob))


def _push_manifest(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    changes.add_manifest(unit, repository, manifest, ME)  # also before its blobs, as mirrors get them


def _delete_manifest(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    changes.delete_manifest(unit, repository, manifest.digest, ME)


def _push_manifest_as_blob(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    add_blob(unit, repository, manifest.digest, manifest.size)


def _delete_manifest_as_blob(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    delete_blob(unit, repository, manifest.digest)


def _collect(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    found = looked_for(unit.tx)[0]
    assert set(eviction.forget(unit, (*garbage.unlinked(unit.tx), str(digest_of(blob))))) >= found


def _let_go(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    eviction.let_go(unit, garbage.unneeded(unit.tx), math.inf, frozenset({str(digest_of(blob))}))


def _evict(unit: Transaction, repository: str, blob: bytes, manifest: Manifest) -> None:
    eviction.evict(unit, eviction.oldest(unit.tx, 1), 0, frozenset({str(digest_of(blob))}))


STEPS = (
    *(_push_blob, _push_blob, _delete_blob, _push_manifest, _push_manifest, _delete_manifest),
    *(_push_manifest_as_blob, _delete_manifest_as_blob, _collect, _let_go, _evict),
)
histories = st.lists(
    st.tuples(
        st.sampled_from(STEPS), st.sampled_from(REPOSITORIES), st.sampled_from(BLOBS), st.sampled_from(MANIFESTS)
    ),
    max_size=40,
)


class _Enough(Exception):
    """Ends a transaction, so that the next history begins with nothing."""


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_what_is_written_down_is_what_there_is_to_find(
    local: LocalRegistry, history: Sequence[tuple[object, ...]]
) -> None:
    with pytest.raises(_Enough), local._store.metadata.writing() as tx:
        unit = Transaction(tx)
        for step, *given_ in history:
            assert callable(step)
            try:
                step(unit, *given_)
            except (BlobUnknown, ManifestUnknown, NameUnknown):
                continue
            assert written_down(tx) == looked_for(tx)
        raise _Enough


def test_a_base_layer_of_many_images_in_other_repositories(local: LocalRegistry) -> None:
    """Whoever asks who names it takes the other way round then."""
    base = digest_of(b"base")
    with local._store.metadata.writing() as tx:
        unit = Transaction(tx)
        for repository in ("many", "few", "none"):
            add_blob(unit, repository, base, 4)
        for number in range(garbage._MANY + 10):
            changes.add_manifest(unit, "many", manifest_of(b"base", config=b"%d" % number), ME)
        mine, also = manifest_of(b"base", config=b"mine"), manifest_of(b"base", config=b"also mine")
        changes.add_manifest(unit, "few", mine, ME)
        changes.add_manifest(unit, "few", also, ME)
        assert written_down(tx) == looked_for(tx) == (set(), {("none", str(base))})
        changes.delete_manifest(unit, "few", mine.digest, ME)
        add_blob(unit, "few", base, 4)
        assert ("few", str(base)) not in written_down(tx)[1]
        changes.delete_manifest(unit, "few", also.digest, ME)
        assert written_down(tx)[1] == {("few", str(base)), ("none", str(base))}
        assert written_down(tx) == looked_for(tx)
        changes.add_manifest(unit, "none", mine, ME)
        assert written_down(tx)[1] == {("few", str(base))}


async def test_page_by_page_and_only_what_is_old_enough(local: LocalRegistry, clock: Clock) -> None:
    for repository in ("a", "b"):
        for content in (b"1", b"2", b"3"):
            await put_blob(local, repository, content)
        image = await put_image(local, repository, repository.encode())
        clock.now += 10
    with local._store.metadata.reading() as tx:
        everything = garbage.unneeded(tx)
        assert [(each.repository, each.digest) for each in everything] == [
            (repository, digest)
            for repository in ("a", "b")
            for digest in sorted(str(digest_of(b)) for b in (b"1", b"2", b"3"))
        ]
        assert [each.repository for each in garbage.unneeded(tx, before=clock.now - 15)] == ["a"] * 3
        pages, after = [], garbage.FIRST
        while page := garbage.unneeded(tx, after=after, most=2):
            assert len(page) <= 2
            pages += page
            after = page[-1]
        assert pages == everything
    await put_blob(local, "a", b"1")  # its push has begun again
    with local._store.metadata.reading() as tx:
        old = garbage.unneeded(tx, before=clock.now - 15)
        assert [each.digest for each in old] == sorted(str(digest_of(each)) for each in (b"2", b"3"))
        assert garbage.is_unneeded(tx, old[0].key, str(digest_of(b"1")))
        assert not garbage.is_unneeded(tx, old[0].key, str(digest_of(b"1")), before=clock.now - 15)
    await local.delete_manifest(CI, "b", image.digest)
    await local.delete_blob(CI, "b", digest_of(b"b"))
    with local._store.metadata.reading() as tx:
        gone = sorted((str(image.digest), str(digest_of(b"b"))))
        assert garbage.unlinked(tx) == gone
        assert garbage.unlinked(tx, after=gone[0]) == gone[1:]
        assert garbage.unlinked(tx, most=1) == gone[:1]
        assert garbage.unlinked(tx, before=clock.now - 1) == []


async def test_an_older_index_is_told_when_it_is_opened(opened: Callable[[], LocalRegistry]) -> None:
    with closing(opened()) as registry:
        gone = await put_image(registry, "a", b"gone")
        await put_image(registry, "a", b"kept", tags=["v"])
        await registry.delete_manifest(CI, "a", gone.digest)
        for repository in ("a", "b"):
            await put_blob(registry, repository, b"loose")
        await put_blob(registry, "a", b"nobody's")
        await registry.delete_blob(CI, "a", digest_of(b"nobody's"))
        with registry._store.metadata.writing() as tx:
            before = written_down(tx)
            for statement in (
                "DROP TABLE unlinked",
                "DROP TABLE unneeded",
                "ALTER TABLE repo_blobs DROP COLUMN giver",
                "UPDATE alembic_version SET version_num = '0003'",
            ):
                tx.execute(statement)
    with closing(opened()) as registry, registry._store.metadata.reading() as tx:
        assert written_down(tx) == looked_for(tx) == before
        assert before == (
            {str(gone.digest), str(digest_of(b"nobody's"))},
            {("a", str(digest_of(b"gone"))), ("a", str(digest_of(b"loose"))), ("b", str(digest_of(b"loose")))},
        )


async def test_what_was_pushed_since_a_page_was_read_stays(local: LocalRegistry, clock: Clock) -> None:
    for repository in ("named", "again", "left"):
        for content in (b"{}", b"layer"):
            await put_blob(local, repository, content)
    clock.now += 100
    page = await local._store.read(partial(garbage.unneeded, before=clock.now - 50))
    assert len(page) == 6
    await local.put_manifest(CI, "named", manifest_of(b"layer"))
    for content in (b"{}", b"layer"):
        await put_blob(local, "again", content)
    await local._store.write(partial(eviction.let_go, links=page, before=clock.now - 50, spared=frozenset()))
    for repository, there in (("named", True), ("again", True), ("left", False)):
        for content in (b"{}", b"layer"):
            assert (await local._store.read(partial(has, repository, content))) == there
    await local.put_manifest(CI, "again", manifest_of(b"layer"))
    with pytest.raises(ManifestBlobUnknown):
        await local.put_manifest(CI, "left", manifest_of(b"layer"))


def has(repository: str, content: bytes, tx: Connection) -> bool:
    return blob_size(tx, digest_of(content), repository) is not None


@pytest.mark.slow
async def test_pushes_while_everything_that_seems_unneeded_is_taken(local: LocalRegistry) -> None:
    """With no time of grace at all: a push may be refused and begins again, but no manifest is ever left without."""
    pushing = True

    async def push(number: int) -> None:
        random = Random(number)
        for count in range(6):
            image = None
            while image is None:
                layers = [b"%d" % random.randrange(4), b"%d %d" % (number, count)]
                with suppress(ManifestBlobUnknown):
                    image = await put_image(local, f"r{number % 2}", *layers, tags=[f"v{number}"])
            if random.random() < 0.3:
                await local.delete_manifest(CI, f"r{number % 2}", image.digest)

    async def take() -> int:
        taken = 0
        while pushing:
            page = await local._store.read(garbage.unneeded)
            await asyncio.sleep(0.1)  # a page is old when it is used
            await local._store.write(partial(eviction.let_go, links=page, before=math.inf, spared=frozenset()))
            taken += len(page)
        return taken

    taking = asyncio.create_task(take())
    try:
        await asyncio.wait_for(asyncio.gather(*(push(number) for number in range(4))), 120)
    finally:
        pushing = False
    assert await taking > 0
    with local._store.metadata.reading() as tx:
        without = (
            "SELECT count(*) FROM repo_manifests m JOIN manifest_blobs n ON n.manifest = m.digest WHERE NOT EXISTS "
            "(SELECT 1 FROM repo_blobs l WHERE l.repository_id = m.repository_id AND l.digest = n.digest)"
        )
        assert tx.execute(without).scalar() == 0
        assert tx.execute("SELECT count(*) FROM repo_manifests").scalar() > 0
        assert written_down(tx) == looked_for(tx)
