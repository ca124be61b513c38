"""What goes wrong between two registries: cuts, lies, races, lost answers, late wakers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oci_wire.closure import report
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Conflict, Denied, Unreachable
from oci_wire.extension import LeaseRequest, TagChange
from oci_wire.registry import BlobStream, Chunks
from promotions.commit import Committer, Fenced, LeaseHeld, TagConflict
from promotions.ledger import Ledger, LedgerBroken
from promotions.outcome import Ending, Request
from promotions.progress import BlobMoved, Entered, Progress
from promotions.queue import Queue
from promotions.retry import ONCE
from promotions.states import State
from promotions.store import Store
from tests.promotions.world import CALL, CI, World, image, index, key, topology
from topology.model import Freeze

PROD = "prod-eu"


async def whole(world: World, digest: Digest) -> bool:
    prod = world.place("prod")
    return (await report(prod.registry, CALL, prod.repository, digest, rehash=True)).complete


def cut_streams(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int, *, bytes_of: bytes | None = None
) -> list[int]:
    """The source cuts blobs in the middle (or sends other bytes), this many times."""
    source = world.nodes.of("ci-pool-eu")
    opened, done = source.open_blob, list[int]()

    async def broken(chunks: Chunks) -> AsyncIterator[bytes]:
        content = b"".join([chunk async for chunk in chunks])
        if bytes_of is not None:
            yield (bytes_of * len(content))[: len(content)]
            return
        yield content[: len(content) // 2]
        raise Unreachable("connection reset")

    async def open_blob(*args: Any, **options: Any) -> BlobStream:
        stream = await opened(*args, **options)
        if stream.descriptor.size > 500 and len(done) < times:  # layers, not configs and signatures
            done.append(1)
            stream.chunks = broken(stream.chunks)
        return stream

    monkeypatch.setattr(source, "open_blob", open_blob)
    return done


async def test_a_cut_in_mid_blob_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()
    done = cut_streams(world, monkeypatch, 2)
    assert (await world.promote()).ending is Ending.DONE
    assert len(done) == 2 and await whole(world, made.digest)


async def test_wrong_bytes_of_the_right_length_never_arrive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()
    cut_streams(world, monkeypatch, 2, bytes_of=b"x")
    assert (await world.promote()).ending is Ending.DONE
    assert await whole(world, made.digest)


async def test_a_source_that_stays_away_is_an_error_to_try_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()
    with monkeypatch.context() as patch:
        cut_streams(world, patch, 1000)
        outcome = await world.promote()
    assert (outcome.ending, outcome.state, outcome.code) == (Ending.ERRORED, State.ERRORED, "UNAVAILABLE")
    assert "connection reset" in outcome.reasons[0] and "run the same command again" in outcome.remedy
    assert await world.shown("prod", "1.0") is None
    again = await world.promote()
    assert (again.ending, again.promotion) == (Ending.DONE, outcome.promotion)
    assert await whole(world, made.digest)


async def test_a_layer_missing_at_the_source(world: World) -> None:
    made = await world.signed_image()
    source = world.place("ci-pool")
    child = await source.registry.get_manifest(CALL, source.repository, str(made.children[1].digest))
    layer = child.blobs[1].digest
    source.registry._state.repositories["apps/api"].blobs.remove(layer)  # type: ignore[attr-defined]
    assert (await world.promote(dry_run=True)).code == "SOURCE_INCOMPLETE"  # a dry run looks too
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "SOURCE_INCOMPLETE")
    assert "source ci-pool/apps/api@" in outcome.reasons[0] and str(layer) in outcome.reasons[0]
    assert await world.shown("prod", "1.0") is None
    prod = world.place("prod")
    assert (await prod.registry.repositories(CALL)).items == ()  # nothing half done
    source.registry._state.repositories["apps/api"].blobs.add(layer)  # type: ignore[attr-defined]
    assert (await world.promote()).ending is Ending.DONE


async def test_a_source_tag_that_moves_changes_nothing(world: World) -> None:
    made = await world.signed_image()
    moved = await image(world.place("ci-pool"), salt="moved")

    def move(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.COPYING:
            state = world.nodes.of("ci-pool-eu")._state  # type: ignore[attr-defined]
            state.set_tag(CALL, "apps/api", "1.0", moved.digest)

    outcome = await world.promote(watch=move)
    assert outcome.digest == str(made.digest)
    assert await world.shown("prod", "1.0") == await world.shown("prod", "stable") == str(made.digest)
    assert await world.shown("ci-pool", "1.0") == str(moved.digest)


async def test_a_target_that_lies_gets_no_tag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()
    prod = world.nodes.of(PROD)
    put = prod.put_blob

    async def forgetful(call: Any, repository: str, blob: Descriptor, chunks: Chunks) -> Descriptor:
        stored = await put(call, repository, blob, chunks)
        state = prod._state  # type: ignore[attr-defined]
        if blob.size > 500:
            state.contents[blob.digest] = b"z" * blob.size  # the right length, other bytes
        return stored

    monkeypatch.setattr(prod, "put_blob", forgetful)
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.INTEGRITY, "INTEGRITY")
    assert "target prod/apps/api@" in outcome.reasons[0] and "the tags are untouched" in outcome.remedy
    assert await world.shown("prod", "1.0") is None
    kinds = [(each.kind, each.body["code"]) for each in Ledger.of_scope(world.ledgers, "prod").records()]
    assert kinds == [("refusal", "INTEGRITY")]


async def test_a_lost_commit_answer_is_read_back_by_its_id(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()
    prod = world.nodes.of(PROD)
    commit = prod.commit_tags

    async def lost(*args: Any, **options: Any) -> None:
        await commit(*args, **options)
        raise Unreachable("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(prod, "commit_tags", lost)
        outcome = await world.promote()
    assert outcome.ending is Ending.ERRORED
    assert await world.shown("prod", "stable") == str(made.digest)
    again = await world.promote()
    assert (again.ending, again.promotion) == (Ending.DONE, outcome.promotion)
    assert again.receipt["txid"] == outcome.promotion
    assert [each.kind for each in Ledger.of_scope(world.ledgers, "prod").records()] == ["promotion"]


async def test_a_lost_race_is_a_conflict_and_no_overwrite(world: World) -> None:
    await world.signed_image()
    prod = world.place("prod")

    def race(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.CHECKED:
            state = world.nodes.of(PROD)._state  # type: ignore[attr-defined]
            state.set_tag(CALL, "apps/api", "stable", Digest.parse(outcome_children[0]))

    outcome_children = [str((await index(prod, salt="theirs")).digest)]
    outcome = await world.promote(watch=race)
    assert (outcome.ending, outcome.code, outcome.state) == (Ending.CONFLICT, "CONFLICT", State.FAILED)
    assert f"stable shows {outcome_children[0]}, expected nothing" in outcome.reasons[0]
    assert await world.shown("prod", "stable") == outcome_children[0]
    assert await world.shown("prod", "1.0") is None  # all of them or none


async def test_a_fenced_runner_changes_nothing(world: World) -> None:
    """A process that stopped past its lease wakes up after another took over."""
    prod = world.place("prod")
    ours = await index(prod, salt="ours")
    registry = prod.registry
    committer = Committer(prod, ONCE, CALL, "late")
    commit = registry.commit_tags

    async def late(*args: Any, **options: Any) -> Any:
        await registry.take_lease(
            CALL, prod.repository, LeaseRequest(holder="pr_late", ttl=60)
        )  # the one that took over
        return await commit(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "commit_tags", late)
        with pytest.raises(Fenced):
            await committer.commit("pr_late", (TagChange(tag="1.0", expect=None, to=str(ours.digest)),))
    assert await world.shown("prod", "1.0") is None


async def test_another_holder_is_waited_for_then_named(world: World) -> None:
    prod = world.place("prod")
    ours = await index(prod, salt="ours")
    lease = await prod.registry.take_lease(CALL, prod.repository, LeaseRequest(holder="pr_other", ttl=60))
    changes = (TagChange(tag="1.0", expect=None, to=str(ours.digest)),)
    with pytest.raises(LeaseHeld, match="pr_other"):
        await Committer(prod, ONCE, CALL, "us", lease_patience=0.0).commit("pr_us", changes)
    waiting = asyncio.create_task(Committer(prod, ONCE, CALL, "us").commit("pr_us", changes))
    await asyncio.sleep(0)
    await prod.registry.release_lease(CALL, prod.repository, lease.id, lease.token)
    assert (await waiting)["commit"] == "transaction"


def standard_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(world.nodes.of(PROD), "features", none)


async def test_without_the_extension_the_receipt_says_best_effort(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_only(world, monkeypatch)
    made = await world.signed_image()
    outcome = await world.promote()
    assert (outcome.ending, outcome.receipt["commit"]) == (Ending.DONE, "best-effort")
    assert await world.shown("prod", "stable") == str(made.digest)
    assert (await world.promote()).ending is Ending.NOTHING_TO_DO


async def test_without_the_extension_immutable_tags_come_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    prod = world.place("prod")
    made = await index(prod, salt="x")
    standard_only(world, monkeypatch)
    order = []
    put = prod.registry.put_manifest

    async def watched(call: Any, repository: str, manifest: Any, *, tags: tuple[str, ...] = ()) -> Any:
        order.extend(tags)
        return await put(call, repository, manifest, tags=tags)

    monkeypatch.setattr(prod.registry, "put_manifest", watched)
    changes = tuple(TagChange(tag=tag, expect=None, to=str(made.digest)) for tag in ("edge", "v1", "stable"))
    await Committer(prod, ONCE, CALL, "us").commit("t", changes, floating=frozenset({"edge", "stable"}))
    assert order == ["v1", "edge", "stable"]
    with pytest.raises(TagConflict):
        other = await index(prod, salt="other")
        await Committer(prod, ONCE, CALL, "us").commit("u", (TagChange(tag="edge", expect=None, to=str(other.digest)),))


async def test_a_broken_ledger_stops_before_it_says_done(world: World) -> None:
    await world.signed_image()
    ledger = Ledger.of_scope(world.ledgers, "prod")
    ledger.append("promotion", "earlier", {})
    whole_file = ledger.path.read_bytes()
    ledger.path.write_bytes(b"")
    outcome = await world.promote()
    assert (outcome.ending, outcome.code, outcome.state) == (Ending.ERRORED, "LEDGER", State.ERRORED)
    ledger.path.write_bytes(whole_file)
    again = await world.promote()
    assert (again.ending, again.promotion) == (Ending.DONE, outcome.promotion)
    assert ledger.verify().proven == 2


async def test_a_target_that_denies_the_engine_says_which_side(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()

    async def denied(*_: Any, **__: Any) -> None:
        raise Denied("no grant to promote in prod")

    monkeypatch.setattr(world.nodes.of(PROD), "put_blob", denied)
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "DENIED")
    assert "no grant to promote in prod" in outcome.reasons[0]


async def test_blobs_are_mounted_within_one_registry(world: World) -> None:
    made = await world.signed_image()
    world.nodes.registries[PROD] = world.nodes.of("ci-pool-eu")
    place, how = world.nodes.place, set()
    world.nodes.place = lambda node, repository: place(
        "ci-pool-eu", repository if node != PROD else f"prod/{repository}"
    )  # type: ignore[method-assign]

    def watch(event: Progress) -> None:
        if isinstance(event, BlobMoved):
            how.add(event.how)

    assert (await world.promote(watch=watch)).ending is Ending.DONE
    assert "mounted" in how and "copied" not in how
    found = await report(world.nodes.of(PROD), CALL, "prod/apps/api", made.digest)
    assert found.complete


async def test_ctrl_c_in_mid_copy_leaves_a_row_that_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()
    reached = asyncio.Event()
    prod = world.nodes.of(PROD)

    async def hangs(*_: Any, **__: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(prod, "put_blob", hangs)
        task = asyncio.create_task(world.promote())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [each.state for each in await world.store.live()] == [State.COPYING]
    assert await world.shown("prod", "1.0") is None
    assert (await world.promote()).ending is Ending.DONE
    assert await whole(world, made.digest)


async def test_a_claim_ends_with_its_holder(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    order = []

    async def work(name: str) -> None:
        async with store.claimed("pr_1"):
            order.append(name)
            await asyncio.sleep(0.01)
            order.append(name)

    await asyncio.gather(*(work(str(number)) for number in range(5)))
    assert order == [name for name in order[::2] for _ in range(2)]
    assert not list((tmp_path / "claims").iterdir())
    store.close()


async def test_aborting_what_waits(tmp_path: Path) -> None:
    freeze = {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "nobody on call"}
    world = World(tmp_path, lambda document: document.update(freezes=[freeze]))
    await world.signed_image()
    waiting = await world.promote()
    assert (waiting.ending, waiting.state) == (Ending.WAITING, State.WAITING)
    assert "freeze now (nobody on call) holds to-prod until" in waiting.reasons[0]
    aborted = await world.engine().abort(waiting.promotion, CI)
    assert (aborted.state, aborted.reasons) == (State.ABORTED, ("aborted by ci-runner",))
    with pytest.raises(LookupError):
        await world.engine().abort("pr_none", CI)


async def test_a_commit_id_used_for_something_else(world: World) -> None:
    prod = world.place("prod")
    one, two = await index(prod, salt="1"), await index(prod, salt="2")
    committer = Committer(prod, ONCE, CALL, "us")
    await committer.commit("t", (TagChange(tag="a", expect=None, to=str(one.digest)),))
    with pytest.raises(Conflict):
        await committer.commit("t", (TagChange(tag="b", expect=None, to=str(two.digest)),))
    assert await world.shown("prod", "b") is None


async def test_the_ledger_refuses_to_grow_on_damage(world: World) -> None:
    ledger = Ledger.of_scope(world.ledgers, "prod")
    ledger.append("promotion", "one", {})
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b"one", b"two"))
    with pytest.raises(LedgerBroken):
        ledger.append("promotion", "three", {})


async def test_the_queue_goes_on_with_what_was_left(tmp_path: Path) -> None:
    freeze = {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "nobody on call"}
    frozen = World(tmp_path, lambda document: document.update(freezes=[freeze]))
    made = await frozen.signed_image()
    waiting = await frozen.promote()
    assert await Queue(frozen.engine()).work() == []  # it rests first
    assert [each.ending for each in await Queue(frozen.engine(), rest=0.0).work()] == [Ending.WAITING]
    thawed = topology(tmp_path)
    engine = frozen.engine()
    engine.topology = thawed
    await image(frozen.place("ci-pool"), "1.0", salt="the tag moved on")
    outcomes = await Queue(engine, rest=0.0).work()
    assert [(each.ending, each.promotion) for each in outcomes] == [(Ending.DONE, waiting.promotion)]
    assert await frozen.shown("prod", "1.0") == str(made.digest)
    assert await Queue(engine, rest=0.0).work() == []


async def test_refusals_are_in_the_ledger_before_the_row_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await index(world.place("ci-pool"), "1.0")
    outcome = await world.promote()
    record = next(Ledger.of_scope(world.ledgers, "prod").records())
    assert (record.kind, record.key) == ("refusal", f"{outcome.promotion}:REJECTED")
    assert record.body["verdicts"][0]["answer"] == "refuse" and record.body["code"] == "GATE_REFUSED"


async def test_a_freeze_that_begins_meanwhile_holds_the_commit(world: World) -> None:
    made = await world.signed_image()
    freeze = Freeze.model_validate(
        {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "an incident"}
    )
    engine = world.engine()

    def freezes(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.COPYING:
            object.__setattr__(engine.topology, "freezes", (freeze,))

    outcome = await engine.promote(Request("apps/api", "1.0", edge="to-prod"), CI, watch=freezes)
    assert (outcome.ending, outcome.state) == (Ending.WAITING, State.WAITING)
    assert "an incident" in outcome.reasons[0] and await world.shown("prod", "1.0") is None
    object.__setattr__(engine.topology, "freezes", ())
    again = await engine.promote(Request("apps/api", "1.0", edge="to-prod"), CI)
    assert (again.ending, again.promotion) == (Ending.DONE, outcome.promotion)
    assert await world.shown("prod", "1.0") == str(made.digest)


async def test_a_key_taken_out_of_trust_voids_the_verdict(world: World) -> None:
    await world.signed_image()

    def revoke(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.COPYING:
            (world.folder / "release.pub").write_bytes(key("towpath").public.pem)

    outcome = await world.promote(watch=revoke)
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "GATE_REFUSED")
    assert await world.shown("prod", "1.0") is None
