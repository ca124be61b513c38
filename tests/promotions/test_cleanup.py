"""Cleaning up: the run removes what the preview shows, and nothing else."""

from pathlib import Path

import pytest

from promotions.cleanup import Cleaner
from promotions.ledger import Ledger
from promotions.outcome import Refused
from promotions.trace import trace
from tests.promotions.world import CALL, World, image, index

DAY = 86400.0


def cleaner(world: World, later: float = 0.0) -> Cleaner:
    return Cleaner(world.topology, world.nodes, world.store, world.ledgers, now=lambda: world.now() + later)


async def filled(world: World) -> World:
    """In sandbox: old and older now, a new one when it is asked for four days later."""
    box = world.place("sandbox")
    await index(box, "old", salt="old")
    await index(world.place("sandbox", "apps/other"), "new", salt="new")
    return world


async def test_a_preview_removes_nothing_and_says_rule_reason_and_bytes(world: World) -> None:
    await filled(world)
    assert (await cleaner(world).preview("sandbox")).going == ()
    preview = await cleaner(world, 4 * DAY).preview("sandbox")
    assert {each.fact.tag for each in preview.going} == {"old", "new"}
    assert all(each.rule == "pushedWithin 3d" and "pushed 4d ago" in each.reason for each in preview.going)
    assert preview.frees > 0 and preview.percent == 100.0 and preview.needs_confirm
    assert await world.shown("sandbox", "old") is not None and not world.ledgers.exists()


async def test_a_run_above_the_ceiling_waits_for_a_person(world: World) -> None:
    await filled(world)
    cleaned = await cleaner(world, 4 * DAY).run("sandbox")
    assert cleaned.removed == () and "2 of 2 tags (100 %)" in cleaned.waits and "--confirm" in cleaned.waits
    assert await world.shown("sandbox", "old") is not None
    cleaned = await cleaner(world, 4 * DAY).run("sandbox", confirm=True, by="ana")
    assert len(cleaned.removed) == 2 and await world.shown("sandbox", "old") is None
    records = list(Ledger.of_scope(world.ledgers, "sandbox").records())
    assert [each.kind for each in records] == ["cleanup", "cleanup"] and records[0].body["by"] == "ana"


async def test_shared_layers_are_not_freed(world: World) -> None:
    box = world.place("sandbox")
    await image(box, "old", salt="same")
    alone = (await cleaner(world, 4 * DAY).preview("sandbox")).frees
    await image(world.place("sandbox", "apps/other"), "kept", salt="same")
    world.nodes.of("sandbox-eu")._state.repositories["apps/other"].tags["kept"].pushed += 4 * DAY  # type: ignore[attr-defined]
    preview = await cleaner(world, 4 * DAY).preview("sandbox")
    assert [each.fact.repository for each in preview.going] == ["apps/api"]
    assert alone > 0 and preview.frees == 0


async def test_a_promotion_in_flight_holds_its_digest(tmp_path: Path) -> None:
    freeze = {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "a test"}

    def change(document: dict) -> None:  # type: ignore[type-arg]
        document["scopes"]["ci-pool"]["cleanup"] = {"every": "1h", "keep": [{"pushedWithin": "1h"}]}
        document["freezes"] = [freeze]

    world = World(tmp_path, change)
    made = await world.signed_image()
    waiting = await world.promote()
    preview = await cleaner(world, DAY).preview("ci-pool")
    assert preview.going == ()
    reasons = {each.fact.tag: each.reason for each in preview.decisions}
    assert waiting.promotion in reasons["1.0"] and "does not go" in reasons[f"sha256-{made.digest.hex}.sig"]


async def test_what_was_cleaned_up_is_in_the_trace(world: World) -> None:
    made = await index(world.place("sandbox"), "old")
    await cleaner(world, 4 * DAY).run("sandbox", confirm=True)
    steps = trace(world.ledgers, str(made.digest))
    assert [(each.kind, each.tags) for each in steps] == [("cleanup", (("old", str(made.digest)),))]


async def test_a_scope_without_cleanup_says_so(world: World) -> None:
    with pytest.raises(Refused, match="prod has no cleanup"):
        await cleaner(world).preview("prod")
    with pytest.raises(Refused, match="no scope is called"):
        await cleaner(world).run("nowhere")


async def test_the_digest_stays_when_its_tag_goes(world: World) -> None:
    made = await index(world.place("sandbox"), "old")
    await cleaner(world, 4 * DAY).run("sandbox", confirm=True)
    box = world.place("sandbox")
    assert (await box.registry.resolve(CALL, box.repository, str(made.digest))).digest == made.digest
