"""The host of a primary is lost: its replicas keep what it had, and give it back to the empty one."""

from dataclasses import replace

import pytest

from promotions.follow import Follower
from promotions.outcome import Refused
from promotions.refill import reverse
from promotions.replicate import ReplicationReport, Replicator
from promotions.sign import Layout, sign
from promotions.tag_sets import read_tags
from tests.promotions.world import CALL, World, index
from topology.model import Replication

TAGS = ("a", "b", "c")


def edge(world: World) -> Replication:
    found = world.topology.replication("everywhere")
    assert found is not None
    return found


def replicator(world: World, **options: bool) -> Replicator:
    return Replicator(world.topology, world.nodes, world.store, world.ledgers, world.engine().retry, **options)


async def forward(world: World, **options: bool) -> ReplicationReport:
    return await replicator(world, **options).repository(edge(world), "apps/api")


async def refilled(world: World) -> list[ReplicationReport]:
    giving = replicator(world, refill=True)
    return [each async for each in giving.everything(reverse(edge(world), "prod-us"))]


async def shown(world: World, node: str) -> set[str]:
    return set(await read_tags(world.place(node), CALL) or {})


async def lost(world: World) -> None:
    """prod's primary had three tags, is replaced by an empty one, and somebody pushes there before anything else."""
    for tag in TAGS:
        await index(world.place("prod"), tag, salt=tag)
    assert (await forward(world)).whole
    del world.nodes.registries["prod-eu"]
    await index(world.place("prod"), "new", salt="new")


async def test_an_empty_primary_deletes_nothing_at_its_replicas(world: World) -> None:
    await lost(world)
    result = (await forward(world)).targets[0]
    assert (result.moved, result.deleted) == (("new",), ())
    assert "It lacks 3 of 3 tags of prod-us" in result.problem
    assert "towpath replicate everywhere --from prod-us" in result.problem
    assert await shown(world, "prod-us") == {*TAGS, "new"}


async def test_nor_when_pushes_make_it_as_busy_as_the_lost_one_was(world: World) -> None:
    await lost(world)
    await forward(world)
    for number in range(30):
        await index(world.place("prod"), f"n{number}", salt=f"n{number}")
    assert (await forward(world)).targets[0].deleted == ()
    assert await shown(world, "prod-us") >= set(TAGS)


async def test_a_follower_notices_that_events_begin_anew(world: World) -> None:
    for tag in TAGS:
        await index(world.place("prod"), tag, salt=tag)
    await Follower(replicator(world), edge(world), wait=0.0).once()
    del world.nodes.registries["prod-eu"]
    await index(world.place("prod"), "new", salt="new")
    (result,) = await Follower(replicator(world), edge(world), wait=0.0).once()
    assert "none is deleted" in result.targets[0].problem
    assert await shown(world, "prod-us") == {*TAGS, "new"}


async def test_a_replica_gives_back_what_the_primary_lacks_and_deletes_travel_again(world: World) -> None:
    await lost(world)
    await index(world.place("prod"), "a", salt="newer a")  # pushed anew at the empty one: it stays
    newer = await world.shown("prod", "a")
    (result,) = await refilled(world)
    assert result.targets[0].moved == ("b", "c") and result.whole
    assert await world.shown("prod", "a") == newer
    assert (await forward(world)).whole
    assert await world.shown("prod-us", "a") == newer
    prod = world.place("prod")
    await prod.registry.delete_tag(CALL, prod.repository, "b")
    assert (await forward(world)).targets[0].deleted == ("b",)


async def test_a_person_may_say_that_it_is_meant(world: World) -> None:
    await lost(world)
    await forward(world)
    assert (await forward(world, confirm=True)).targets[0].deleted == TAGS
    assert (await forward(world)).whole


async def test_evidence_of_the_new_primary_travels(world: World) -> None:
    await lost(world)
    await refilled(world)
    await forward(world)
    prod, us = world.place("prod"), world.place("prod-us")
    made = await index(prod, "d", salt="d")
    await forward(world)
    await sign(prod, CALL, made.digest, world.key, layout=Layout.REFERRER)
    assert (await forward(world)).whole
    assert len((await us.registry.referrers(CALL, us.repository, made.digest)).items) == 1


def test_only_a_target_gives_back(world: World) -> None:
    with pytest.raises(Refused, match="does not replicate to ci-pool-eu"):
        reverse(edge(world), "ci-pool-eu")


async def test_nor_when_one_push_is_as_much_as_the_lost_one_ever_had(world: World) -> None:
    """A small repository: what the empty primary is given at once counts as many changes."""
    await index(world.place("prod"), "a", salt="a")
    assert [each.whole async for each in replicator(world).everything(edge(world))] == [True]
    del world.nodes.registries["prod-eu"]
    (told,) = [each async for each in replicator(world).everything(edge(world))]
    assert "prod-eu shows no repository apps/api" in told.targets[0].problem
    await index(world.place("prod"), "new", salt="new")
    assert "It lacks 1 of 1 tags of prod-us" in (await forward(world)).targets[0].problem
    assert await shown(world, "prod-us") == {"a", "new"}


async def test_a_follower_knows_another_source_by_its_events(world: World) -> None:
    """Also where the first push comes before the first look, and counts as much as all that was lost."""
    prod = world.place("prod")
    await index(prod, "a", salt="a")
    await index(replace(prod, repository="apps/web", name="apps/web"), "a", salt="web")
    follower = Follower(replicator(world), edge(world), wait=0.0)
    await follower.once()
    del world.nodes.registries["prod-eu"]
    await index(world.place("prod"), "new", salt="new")
    assert any("It lacks 1 of" in each.targets[0].problem for each in await follower.once())
    assert await shown(world, "prod-us") == {"a", "new"}
