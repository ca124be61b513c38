"""The same images at other nodes: by event, by reconcile, and never a tag before its closure."""

import asyncio

import pytest

from oci_wire.closure import report
from oci_wire.digest import Digest
from oci_wire.errors import Unreachable
from oci_wire.extension import TagChange
from promotions.commit import Committer
from promotions.follow import Follower
from promotions.ledger import Ledger
from promotions.outcome import Refused
from promotions.positions import Positions
from promotions.replicate import Replicator
from promotions.retry import ONCE
from promotions.sign import Layout, sign
from promotions.trace import trace
from promotions.transfer import referrers_of
from tests.promotions.world import CALL, NODES, World, image, index
from topology.model import Replication


def replicator(world: World, **options: object) -> Replicator:
    return Replicator(world.topology, world.nodes, world.store, world.ledgers, world.engine().retry, **options)  # type: ignore[arg-type]


def edge(world: World) -> Replication:
    found = world.topology.replication("everywhere")
    assert found is not None
    return found


async def test_what_was_promoted_comes_to_the_replica(world: World) -> None:
    made = await world.signed_image()
    await world.promote()
    result = await replicator(world).repository(edge(world), "apps/api")
    assert str(result) == "apps/api: 2 of 2 nodes"
    moved = set(result.targets[0].moved)
    assert {"1.0", "stable", f"sha256-{made.digest.hex}.sig"} <= moved
    us = world.place("prod-us")
    assert (await report(us.registry, CALL, us.repository, made.digest, rehash=True)).complete
    assert [each.kind for each in trace(world.ledgers, str(made.digest))] == ["promotion", "replication"]
    assert len((await us.registry.referrers(CALL, us.repository, made.digest)).items) == 1  # our attestation


async def test_again_moves_nothing(world: World) -> None:
    await index(world.place("prod"), "1.0")
    await replicator(world).repository(edge(world), "apps/api")
    again = await replicator(world).repository(edge(world), "apps/api")
    assert (again.targets[0].moved, again.targets[0].sent, again.targets[0].lag) == ((), 0, None)
    assert len(list(Ledger.of_scope(world.ledgers, "prod").records())) == 1


async def test_a_tag_that_flips_back_and_forth_arrives_each_time(world: World) -> None:
    prod, us = world.place("prod"), world.place("prod-us")
    one, two = await index(prod, salt="1"), await index(prod, salt="2")
    for made in (one, two, one, two):
        await prod.registry.put_manifest(CALL, prod.repository, made, tags=("edge",))
        assert (await replicator(world).repository(edge(world), "apps/api")).whole
        assert (await us.registry.resolve(CALL, us.repository, "edge")).digest == made.digest


async def test_deletes_travel_as_the_edge_says(world: World) -> None:
    prod = world.place("prod")
    await index(prod, "old", salt="1")
    await index(prod, "new", salt="2")
    await replicator(world).repository(edge(world), "apps/api")
    await prod.registry.delete_tag(CALL, prod.repository, "old")
    result = await replicator(world).repository(edge(world), "apps/api")
    assert result.targets[0].deleted == ("old",)
    assert await world.shown("prod-us", "old") is None and await world.shown("prod-us", "new") is not None


async def test_never_means_never(world: World) -> None:
    prod = world.place("prod")
    await index(prod, "old", "new")
    never = edge(world).model_copy(update={"deletes": "never"})
    await replicator(world).repository(never, "apps/api")
    await prod.registry.delete_tag(CALL, prod.repository, "old")
    await replicator(world).repository(never, "apps/api")
    assert await world.shown("prod-us", "old") is not None


async def test_many_deletions_wait_for_a_person(world: World) -> None:
    prod = world.place("prod")
    tags = [f"t{number}" for number in range(12)]
    made = await index(prod, *tags, "kept")
    await replicator(world).repository(edge(world), "apps/api")
    for tag in tags:
        await prod.registry.delete_tag(CALL, prod.repository, tag)
    result = await replicator(world).repository(edge(world), "apps/api")
    assert "12 of 13 tags (92 %)" in result.targets[0].problem and "--confirm" in result.targets[0].problem
    assert await world.shown("prod-us", "t0") == str(made.digest)
    assert len((await replicator(world, confirm=True).repository(edge(world), "apps/api")).targets[0].deleted) == 12


async def test_a_source_that_shows_no_repository_deletes_nothing(world: World) -> None:
    await index(world.place("prod-us"), "1.0")
    result = await replicator(world).repository(edge(world), "apps/api")
    assert "shows no repository" in result.targets[0].problem
    assert await world.shown("prod-us", "1.0") is not None


async def test_one_target_down_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await index(world.place("prod"), "1.0")
    wide = edge(world).model_copy(update={"targets": ("prod-us", "ci-pool-eu")})

    async def down(*_: object, **__: object) -> None:
        raise Unreachable("connection refused")

    monkeypatch.setattr(world.nodes.of("prod-us"), "tag_states", down)
    result = await replicator(world).repository(wide, "apps/api")
    assert str(result) == "apps/api: 2 of 3 nodes"
    assert "connection refused" in result.targets[0].problem and not result.targets[1].problem
    standing = {each.target: each.problem for each in await Positions(world.store).standing("everywhere")}
    assert standing["ci-pool-eu"] is None and standing["prod-us"]


async def test_a_missing_layer_at_the_source_shows_no_tag(world: World) -> None:
    prod = world.place("prod")
    made = await index(prod, "1.0")
    child = await prod.registry.get_manifest(CALL, prod.repository, str(made.children[0].digest))
    prod.registry._state.repositories["apps/api"].blobs.remove(child.blobs[1].digest)  # type: ignore[attr-defined]
    result = await replicator(world).repository(edge(world), "apps/api")
    assert str(child.blobs[1].digest) in result.targets[0].problem
    assert await world.shown("prod-us", "1.0") is None


async def test_a_crash_between_tags_and_ledger_is_made_up_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await index(world.place("prod"), "1.0")

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(Ledger, "append", crash)
        await replicator(world).repository(edge(world), "apps/api")
    assert await world.shown("prod-us", "1.0") == str(made.digest)
    await replicator(world).repository(edge(world), "apps/api")
    assert [each.kind for each in trace(world.ledgers, str(made.digest))] == ["replication"]


async def test_a_replica_that_somebody_moved_is_a_conflict_only_while_it_moves(world: World) -> None:
    prod, us = world.place("prod"), world.place("prod-us")
    made, other = await index(prod, "edge", salt="1"), await index(us, "edge", salt="2")
    committer = Committer(us, ONCE, CALL, "somebody")
    with pytest.raises(Exception, match="expected nothing"):
        await committer.commit("t1", (TagChange(tag="edge", expect=None, to=str(other.digest)),))
    assert (await replicator(world).repository(edge(world), "apps/api")).whole
    assert await world.shown("prod-us", "edge") == str(made.digest)


async def test_what_is_not_built_is_refused_in_words(world: World) -> None:
    semver = edge(world).model_copy(update={"tags": edge(world).tags.model_copy(update={"semver": ">=1"})})
    with pytest.raises(Refused, match=r"tags\.semver is not built"):
        await replicator(world).repository(semver, "apps/api")


async def test_events_are_followed_and_the_position_is_kept(world: World) -> None:
    prod = world.place("prod")
    await index(prod, "1.0", salt="1")
    follower = Follower(replicator(world), edge(world), wait=0.0)
    assert [each.repository for each in await follower.once()] == ["apps/api"]  # compares everything first
    assert await follower.once() == []
    made = await index(prod, "2.0", salt="2")
    again = Follower(replicator(world), edge(world), wait=0.0)  # another process
    assert [each.targets[0].moved for each in await again.once()] == [("2.0",)]
    assert await world.shown("prod-us", "2.0") == str(made.digest)
    assert await again.once() == []


async def test_a_follower_runs_until_it_is_stopped_and_heals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, failures = asyncio.Event(), iter([True, True])
    us = world.nodes.of("prod-us")
    put = us.put_manifest

    async def sometimes(*args: object, **options: object) -> object:
        if next(failures, False):
            raise Unreachable("cut")
        return await put(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(us, "put_manifest", sometimes)
    replicating = replicator(world)
    object.__setattr__(replicating, "retry", ONCE)
    task = asyncio.create_task(Follower(replicating, edge(world), wait=0.05, again=0.01).run(stop))
    made = await index(world.place("prod"), "1.0")
    async with asyncio.timeout(20):
        while await world.shown("prod-us", "1.0") is None:
            await asyncio.sleep(0.02)
    stop.set()
    await task
    assert Digest.parse(await world.shown("prod-us", "1.0") or "") == made.digest


async def attached(world: World, digest: Digest) -> int:
    us = world.place("prod-us")
    return len(await referrers_of(us, CALL, digest))


async def test_a_signature_that_comes_late_travels_by_event(world: World) -> None:
    prod = world.place("prod")
    made = await index(prod, "1.0")
    follower = Follower(replicator(world), edge(world), wait=0.0)
    await follower.once()
    for subject in (made.digest, made.children[0].digest):  # of a platform too
        await sign(prod, CALL, subject, world.key, layout=Layout.BUNDLE)
        reports = await follower.once()
        assert [each.targets[0].moved for each in reports] == [()] and reports[0].whole
        assert await attached(world, subject) == 1
    us = world.place("prod-us")
    assert (await report(us.registry, CALL, us.repository, made.digest, rehash=True)).complete


async def test_a_signature_that_comes_late_is_found_by_reconcile(world: World) -> None:
    prod = world.place("prod")
    made = await index(prod, "1.0")
    await replicator(world).repository(edge(world), "apps/api")
    signature = await sign(prod, CALL, made.digest, world.key, layout=Layout.REFERRER)
    await sign(prod, CALL, signature, world.key, layout=Layout.REFERRER)  # and one about the signature
    assert (await replicator(world).repository(edge(world), "apps/api")).whole
    assert await attached(world, made.digest) == 1 and await attached(world, signature) == 1


async def test_referrers_cost_nothing_while_the_rev_stands_still(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await index(world.place("prod"), "1.0")
    await replicator(world).repository(edge(world), "apps/api")
    asked = list[str]()
    for node in (NODES["prod"], "prod-us"):
        registry = world.nodes.of(node)

        async def counted(*_: object, node: str = node, **__: object) -> None:
            asked.append(node)
            raise Unreachable("not while the rev stands still")

        for name in ("referrers", "get_manifest", "resolve"):
            monkeypatch.setattr(registry, name, counted)
    assert (await replicator(world).repository(edge(world), "apps/api")).whole
    assert asked == []


async def test_what_failed_before_a_restart_is_not_passed_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prod, us = world.place("prod"), world.nodes.of("prod-us")
    made = await index(prod, "1.0")
    follower = Follower(replicator(world), edge(world), wait=0.0)
    await follower.once()

    async def down(*_: object, **__: object) -> None:
        raise Unreachable("connection refused")

    await sign(prod, CALL, made.digest, world.key, layout=Layout.REFERRER)
    with monkeypatch.context() as patch:
        patch.setattr(us, "tag_states", down)
        assert not (await follower.once())[0].whole
    await index(prod, "2.0", salt="2")
    await Follower(replicator(world), edge(world), wait=0.0).once()  # another process, that knows of no failure
    assert await attached(world, made.digest) == 1


async def test_one_broken_image_keeps_no_other_back(world: World) -> None:
    prod = world.place("prod")
    broken, good = await image(prod, "broken", salt="b"), await image(prod, "good", salt="g")
    prod.registry._state.repositories["apps/api"].blobs.remove(broken.blobs[1].digest)  # type: ignore[attr-defined]
    target = (await replicator(world).repository(edge(world), "apps/api")).targets[0]
    assert target.moved == ("good",) and str(broken.blobs[1].digest) in target.problem
    assert await world.shown("prod-us", "good") == str(good.digest) and await world.shown("prod-us", "broken") is None
