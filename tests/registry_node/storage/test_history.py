"""Old changes are dropped, and nothing that they led to: a rebuilt index is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Gone
from oci_wire.extension import Hold
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from registry_node.storage.errors import IndexTooOld
from tests.postgresql import Cluster
from tests.registry_node.pushes import CI, change, put_image, transaction

KEPT = 20
DAY = 86400.0


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def opened(folder: Path, dsn: str | None = None, clock: Clock = Clock()) -> LocalRegistry:  # noqa: B008
    return LocalRegistry.open(folder, limits=Limits(history_changes=KEPT), dsn=dsn, clock=clock)


async def many_changes(registry: LocalRegistry) -> None:
    """Some hundred, of all kinds; the oldest are what some names are to this day."""
    old = await put_image(registry, "old", b"old", tags=["stays", "goes"])
    await put_image(registry, "empty", b"old", tags=["v"])
    await registry.delete_manifest(CI, "empty", old.digest)
    first, second = await put_image(registry, "a", b"1", tags=["v"]), await put_image(registry, "a", b"2", tags=["w"])
    await registry.delete_tag(CI, "old", "goes")
    for number in range(60):
        await registry.put_manifest(CI, "a", (first, second)[number % 2], tags=["v", f"t{number % 7}"])
    await registry.delete_tag(CI, "a", "t3")


async def seen(registry: LocalRegistry) -> Any:
    found: dict[str, Any] = {}
    for name in ("old", "empty", "a"):
        states = await registry.tag_states(CI, name)
        assert states is not None
        found[name] = (states.rev, [(each.tag, each.digest, each.rev) for each in states.tags])
        for each in states.tags:
            assert (await registry.closure(CI, name, Digest.parse(each.digest), rehash=True)).complete
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.ndjson").read_text().splitlines()]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.clients)])
def indexes(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gives the DSN of a new, empty index each time; None: the one in the folder."""
    cluster: Cluster | None = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    return lambda: cluster.database() if cluster else None


async def test_a_rebuilt_index_is_the_same_after_old_changes_were_dropped(tmp_path: Path, indexes: Any) -> None:
    with closing(opened(tmp_path, indexes())) as registry:
        await many_changes(registry)
        before = await seen(registry)
        last = registry.reads.last_position()
    told = lines(tmp_path)
    positions = [line["position"] for line in told if line["position"]]
    assert last > 4 * KEPT
    assert KEPT <= len(positions) <= KEPT + KEPT // 4
    assert positions == list(range(last - len(positions) + 1, last + 1))
    for path in tmp_path.glob("index*"):
        path.unlink()
    with closing(opened(tmp_path, indexes())) as registry:
        assert await seen(registry) == before
        assert registry.reads.last_position() == last
        await put_image(registry, "a", b"1", tags=["later"])
        assert lines(tmp_path)[-1]["position"] == registry.reads.last_position() == last + 1


async def test_the_journal_stays_bounded(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as registry:
        await many_changes(registry)
        size = (tmp_path / "journal.ndjson").stat().st_size
        await many_changes(registry)
        assert (tmp_path / "journal.ndjson").stat().st_size < size * 1.5
        with registry._store.metadata.reading() as tx:
            assert tx.execute("SELECT count(*) FROM journal").scalar() <= KEPT + KEPT // 4
        with pytest.raises(Gone, match="events after 1 are not kept"):
            _ = [event async for event in registry.events(CI, after=1)]
        last = registry.reads.last_position()
        assert [event.position async for event in registry.events(CI, after=last - 3)] == [last - 2, last - 1, last]


async def test_a_lost_journal_is_written_anew_with_all_that_holds(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as registry:
        await many_changes(registry)
        before = await seen(registry)
    (tmp_path / "journal.ndjson").unlink()
    opened(tmp_path).close()
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    with closing(opened(tmp_path)) as registry:
        assert await seen(registry) == before


async def test_an_index_from_before_the_snapshot_is_refused_untouched(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as registry:
        await put_image(registry, "a", b"1", tags=["v"])
    backup = (tmp_path / "index.db").read_bytes()
    with closing(opened(tmp_path)) as registry:
        await many_changes(registry)
        before = await seen(registry)
    (tmp_path / "index.db").write_bytes(backup)
    with pytest.raises(IndexTooOld, match="it comes from an old backup"):
        opened(tmp_path)
    (tmp_path / "index.db").unlink()
    with closing(opened(tmp_path)) as registry:
        assert await seen(registry) == before


async def test_receipts_and_holds_end(tmp_path: Path) -> None:
    clock = Clock()
    with closing(opened(tmp_path, clock=clock)) as registry:
        image = await put_image(registry, "a", b"1", tags=["v"])
        await registry.abort_transaction(CI, "a", "aborted")
        old = await set_tags_at(registry, clock, image)
        hold = Hold(digests=(str(image.digest),), until=clock.now + DAY, reason="the test")
        await registry.put_hold(CI, "a", "ends", hold)
        await registry.put_hold(CI, "a", "goes on", hold.model_copy(update={"until": clock.now + 99 * DAY}))
        clock.now += 31 * DAY
        new = await set_tags_at(registry, clock, image)
        await many_changes(registry)
        assert await registry.read_transaction(CI, "a", old) is None
        assert await registry.read_transaction(CI, "a", new) is not None
        with registry._store.metadata.reading() as tx:
            assert tx.execute("SELECT DISTINCT owner FROM hold_digests").scalars() == ["goes on"]
            assert tx.execute("SELECT owner FROM holds").scalars() == ["goes on"]


async def set_tags_at(registry: LocalRegistry, clock: Clock, image: Any) -> str:
    tag, txid = f"x{clock.now}".replace(".", "-"), f"tx{clock.now}"
    wanted = await transaction(registry, "a", change(tag, None, image), not_after=clock.now + 60)
    await registry.commit_tags(CI, "a", txid, wanted)
    return txid
