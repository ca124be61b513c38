"""What arrives is held until tags show it; what a tag showed before keeps a name where the scope says so."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Denied, Unreachable
from promotions.former import FormerNames
from promotions.outcome import Ending
from promotions.progress import Entered, Progress
from promotions.replicate import Replicator
from promotions.states import State
from tests.promotions.world import CALL, World, image, index

TODAY = datetime.now(UTC).strftime("%Y%m%d")


def holds(world: World, node: str = "prod-eu") -> dict[str, set[str]]:
    found = world.nodes.of(node)._state.repositories.get("apps/api")  # type: ignore[attr-defined]
    return {owner: set(each.digests) for owner, each in found.holds.items()} if found else {}


async def test_the_whole_closure_is_held_from_copy_to_commit(world: World) -> None:
    made = await world.signed_image()
    seen = dict[State, dict[str, set[str]]]()

    def look(event: Progress) -> None:
        if isinstance(event, Entered):
            seen[event.state] = holds(world)

    outcome = await world.promote(watch=look)
    assert outcome.ending is Ending.DONE
    held = seen[State.CHECKED][f"{outcome.promotion}.0"]
    assert {str(made.digest), *(str(each.digest) for each in made.children)} <= held
    evidence = {
        str(each.digest) for each in (await world.place("prod").registry.referrers(CALL, "apps/api", made.digest)).items
    }
    assert evidence and evidence <= held
    assert seen[State.WAITING] == {} and holds(world) == {}


async def test_what_is_held_cannot_be_deleted_meanwhile(world: World) -> None:
    made = await world.signed_image()
    prod, refused = world.place("prod"), list[Denied]()

    def delete(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.EVIDENCED:
            state = world.nodes.of("prod-eu")._state  # type: ignore[attr-defined]
            try:
                state.check_free(state.repositories["apps/api"], made.digest)
            except Denied as error:
                refused.append(error)

    assert (await world.promote(watch=delete)).ending is Ending.DONE
    assert len(refused) == 1 and "promotion pr_" in refused[0].message
    assert await world.shown("prod", "1.0") == str(made.digest) and prod


async def test_a_hold_is_dropped_when_the_promotion_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()

    async def cut(*_: Any, **__: Any) -> None:
        raise Unreachable("cut")

    with monkeypatch.context() as patch:
        patch.setattr(world.nodes.of("prod-eu"), "put_blob", cut)
        assert (await world.promote()).ending is Ending.ERRORED
    assert holds(world) == {}


async def test_more_digests_than_one_hold_takes(world: World) -> None:
    source = world.place("ci-pool")
    await image(source, "1.0", layers=1200)
    object.__setattr__(world.topology.promotions[0], "gates", ())
    most = dict[str, set[str]]()

    def look(event: Progress) -> None:
        most.update(holds(world))

    assert (await world.promote(watch=look)).ending is Ending.DONE
    assert len(most) == 2 and sum(map(len, most.values())) > 1200 and holds(world) == {}


def with_former(template: str) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["scopes"]["prod"]["onTagChange"] = template

    return change


async def test_a_promotion_names_what_its_tags_showed(tmp_path: Path) -> None:
    world = World(tmp_path, with_former("{tag}-{date}-{digest12}"))
    first = await world.signed_image("1.0")
    await world.promote("1.0")
    second = await world.signed_image("2.0")
    outcome = await world.promote("2.0")
    name = f"stable-{TODAY}-{first.digest.short}"
    assert await world.shown("prod", name) == str(first.digest)
    assert await world.shown("prod", "stable") == str(second.digest)
    changed = {each["tag"]: (each["old"], each["new"]) for each in outcome.receipt["effects"]}
    assert changed[name] == (None, str(first.digest))
    await world.promote("1.0")  # back again: the second gets its name, the first has its own already
    await world.promote("2.0")
    assert await world.shown("prod", f"stable-{TODAY}-{second.digest.short}") == str(second.digest)
    world.store.close()


async def test_two_moves_on_one_day_lose_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, with_former("{tag}-{date}"))
    made = [await world.signed_image(tag) for tag in ("1.0", "2.0", "3.0")]
    for tag in ("1.0", "2.0", "3.0"):
        assert (await world.promote(tag)).ending is Ending.DONE
    assert await world.shown("prod", f"stable-{TODAY}") == str(made[0].digest)
    assert await world.shown("prod", f"stable-{TODAY}-{made[1].digest.short}") == str(made[1].digest)
    world.store.close()


async def test_a_former_name_that_is_no_tag_stops_before_the_tags(tmp_path: Path) -> None:
    world = World(tmp_path, with_former("x" * 110 + "{tag}-{date}-{digest12}"))
    first = await world.signed_image("1.0")
    await world.promote("1.0")
    await world.signed_image("2.0")
    outcome = await world.promote("2.0")
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "TAGS_UNCLEAR")
    assert await world.shown("prod", "stable") == str(first.digest) and await world.shown("prod", "2.0") is None
    world.store.close()


async def test_replication_names_former_digests_and_keeps_them(tmp_path: Path) -> None:
    world = World(tmp_path, with_former("{tag}-{date}-{digest12}"))
    edge = world.topology.replication("everywhere")
    assert edge is not None and edge.deletes == "trash"
    prod = world.place("prod")
    replicator = Replicator(world.topology, world.nodes, world.store, world.ledgers)
    first = await index(prod, "edge", salt="1")
    await replicator.repository(edge, "apps/api")
    second = await index(prod, "edge", salt="2")
    name = f"edge-{TODAY}-{first.digest.short}"
    for _ in range(2):  # the second run finds a tag that the source does not have, and leaves it
        assert (await replicator.repository(edge, "apps/api")).whole
        assert await world.shown("prod-us", name) == str(first.digest)
    assert await world.shown("prod-us", "edge") == str(second.digest)
    world.store.close()


def test_only_the_scopes_own_names_are_kept() -> None:
    digest = f"sha256:{'a' * 64}"
    names = FormerNames("{tag}-{date}-{digest12}")
    short = Digest.parse(digest).short
    assert names.names(f"edge-20300101-{short}", digest) and names.names(f"a-b-20300101-{short}-{short}", digest)
    assert not names.names("edge", digest) and not names.names(f"edge-20300101-{'b' * 12}", digest)
    assert not FormerNames(None).names("edge", digest)
