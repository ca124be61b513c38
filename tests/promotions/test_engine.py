"""One image, the whole way; and every way in which it does not get there."""

import asyncio

from oci_wire.closure import report
from oci_wire.digest import Digest
from promotions.attest import VSA
from promotions.ledger import Ledger
from promotions.outcome import Ending, Request
from promotions.states import State
from tests.promotions.world import CALL, CI, DEV, World, index


async def test_an_image_travels(world: World) -> None:
    made = await world.signed_image()
    outcome = await world.promote()
    assert (outcome.ending, outcome.state, outcome.tags) == (Ending.DONE, State.SETTLED, ("1.0", "stable")), outcome
    assert await world.shown("prod", "1.0") == await world.shown("prod", "stable") == str(made.digest)
    prod = world.place("prod")
    assert (await report(prod.registry, CALL, prod.repository, made.digest, rehash=True)).complete
    assert outcome.receipt["commit"] == "transaction"
    referrers = await prod.registry.referrers(CALL, prod.repository, made.digest)
    assert [each.annotations["dev.sigstore.bundle.predicateType"] for each in referrers.items] == [VSA]
    assert await world.shown("prod", f"sha256-{made.digest.hex}.sig") is not None


async def test_unsigned_is_refused_with_the_remedy(world: World) -> None:
    made = await index(world.place("ci-pool"), "1.0")
    outcome = await world.promote()
    assert (outcome.ending, outcome.code, outcome.state) == (Ending.REFUSED, "GATE_REFUSED", State.REJECTED)
    assert "gate signed" in outcome.reasons[0] and "carries no signature" in outcome.reasons[0]
    assert f"towpath sign ci-pool/apps/api@{made.digest} --key" in outcome.remedy
    assert await world.shown("prod", "1.0") is None


async def test_no_edge_says_what_to_do_instead(world: World) -> None:
    await index(world.place("sandbox"), "1.0")
    outcome = await world.engine().promote(Request("apps/api", "1.0", source="sandbox", target="prod"), CI)
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "NO_EDGE")
    assert outcome.reasons == ("no edge leads from sandbox to prod",)
    assert "prod takes images from ci-pool" in outcome.remedy


async def test_who_may_not_ask_is_refused_and_written_down(world: World) -> None:
    await world.signed_image()
    outcome = await world.promote(who=DEV)
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "NOT_ALLOWED")
    records = list(Ledger.of_scope(world.ledgers, "prod").records())
    assert [(each.kind, each.body["requester"], each.body["code"]) for each in records] == [
        ("refusal", "dev", "NOT_ALLOWED")
    ]


async def test_a_repository_that_the_edge_does_not_take(world: World) -> None:
    outcome = await world.engine().promote(Request("other/api", "1.0", edge="to-prod"), CI)
    assert outcome.code == "REPOSITORY_NOT_ON_EDGE"


async def test_a_source_that_does_not_exist(world: World) -> None:
    outcome = await world.promote("9.9")
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "SOURCE_UNKNOWN")
    assert "source ci-pool/apps/api:9.9 does not exist" in outcome.reasons[0]


async def test_again_is_nothing_to_do_while_the_target_shows_it(world: World) -> None:
    await world.signed_image()
    first = await world.promote()
    again = await world.promote()
    assert (again.ending, again.promotion) == (Ending.NOTHING_TO_DO, first.promotion)
    await world.signed_image("2.0")
    await world.promote("2.0")  # stable has moved on
    third = await world.promote()
    assert third.ending is Ending.DONE and third.promotion != first.promotion
    assert await world.shown("prod", "stable") == first.digest


async def test_a_target_that_lost_something_is_no_reason_to_do_nothing(world: World) -> None:
    made = await world.signed_image()
    await world.promote()
    prod = world.place("prod")
    child = made.children[0].digest
    del prod.registry._state.repositories["apps/api"].manifests[child]  # type: ignore[attr-defined]
    assert (await world.promote()).ending is Ending.DONE
    assert (await report(prod.registry, CALL, prod.repository, made.digest)).complete


async def test_fifty_triggers_are_one_promotion(world: World) -> None:
    await world.signed_image()
    outcomes = await asyncio.gather(*(world.promote() for _ in range(50)))
    assert len({each.promotion for each in outcomes}) == 1
    assert sum(each.ending is Ending.DONE for each in outcomes) == 1
    assert all(each.ok for each in outcomes)
    assert [each.kind for each in Ledger.of_scope(world.ledgers, "prod").records()] == ["promotion"]


async def test_a_dry_run_touches_nothing(world: World) -> None:
    made = await world.signed_image()
    outcome = await world.promote(dry_run=True)
    assert (outcome.ending, outcome.would_change) == (Ending.PLANNED, {"1.0": None, "stable": None})
    assert outcome.digest == str(made.digest) and await world.shown("prod", "1.0") is None
    assert await world.store.newest() == [] and not world.ledgers.exists()


async def test_an_immutable_tag_is_a_conflict_before_anything_is_copied(world: World) -> None:
    await index(world.place("prod"), "v1", salt="other")
    made = await world.signed_image("v1")
    outcome = await world.promote("v1")
    assert (outcome.ending, outcome.code) == (Ending.CONFLICT, "CONFLICT")
    assert "immutable" in outcome.reasons[0]
    assert Digest.parse(outcome.digest) == made.digest


async def test_an_abort_leaves_the_target_alone(world: World) -> None:
    await world.signed_image()
    request = world.promote()
    task = asyncio.create_task(request)
    await asyncio.sleep(0)
    outcome = await task
    aborted = await world.engine().abort(outcome.promotion, CI)
    assert aborted.ending is Ending.DONE  # too late: it says what is
