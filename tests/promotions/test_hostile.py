"""What somebody would try: hostile content, lies, wrong clocks, two engines at once, rights that were taken away."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from identity.grants import Principal
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.extension import TagReceipt
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from promotions.database import DatabaseUnusable
from promotions.engine import Engine
from promotions.follow import Follower
from promotions.gates.evidence import SIGNATURE, SIMPLE_SIGNING
from promotions.ledger import Ledger, LedgerBroken
from promotions.outcome import Ending, Outcome, Request
from promotions.place import Place
from promotions.progress import Entered, Progress
from promotions.queue import Queue
from promotions.replicate import Replicator
from promotions.retry import ONCE
from promotions.sign import Layout, sign
from promotions.states import State
from promotions.store import Store
from promotions.trace import trace
from tests.promotions.world import CALL, CI, DEV, World, image, index, key, put, topology

PROD = "prod-eu"


def without_gates(world: World) -> World:
    object.__setattr__(world.topology.promotions[0], "gates", ())
    return world


async def push(place: Place, body: dict[str, Any], media_type: str, *tags: str, algorithm: str = "sha256") -> Manifest:
    manifest = Manifest.parse(json.dumps(body).encode(), media_type, algorithm=algorithm)
    await place.registry.put_manifest(CALL, place.repository, manifest, tags=tags)
    return manifest


def index_of(*children: Manifest) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [each.descriptor.to_json() for each in children]}


# Content


async def test_two_identical_children_are_one(world: World) -> None:
    source = without_gates(world).place("ci-pool")
    child = await image(source)
    made = await push(source, index_of(child, child), OCI_INDEX, "1.0")
    assert (await world.promote()).ending is Ending.DONE
    assert await world.shown("prod", "1.0") == str(made.digest)


async def test_an_index_thirty_deep(world: World) -> None:
    source = without_gates(world).place("ci-pool")
    made = await image(source)
    for level in range(30):
        made = await push(source, index_of(made, made) | {"annotations": {"level": str(level)}}, OCI_INDEX)
    await source.registry.put_manifest(CALL, source.repository, made, tags=("1.0",))
    assert (await world.promote()).ending is Ending.DONE


async def test_an_index_too_deep_is_refused_in_words(world: World) -> None:
    source = without_gates(world).place("ci-pool")
    made = await image(source)
    for _ in range(70):
        made = await push(source, index_of(made), OCI_INDEX)
    await source.registry.put_manifest(CALL, source.repository, made, tags=("1.0",))
    outcome = await world.promote()
    assert outcome.ending is Ending.FAILED and "deeper than 64" in outcome.reasons[0]


@pytest.mark.slow
async def test_ten_thousand_layers(world: World) -> None:
    source = without_gates(world).place("ci-pool")
    made = await image(source, "1.0", layers=10_000)
    assert (await world.promote()).ending is Ending.DONE
    assert await world.shown("prod", "1.0") == str(made.digest)


@pytest.mark.parametrize(
    "label", ["{tag}", "{digest12}", "$(id)", "a;b", "{{7*7}}", "x\n", "\ud800", "\x1b[2J", "a" * 200]
)
async def test_a_label_is_data(tmp_path: Path, label: str) -> None:
    def change(document: dict[str, Any]) -> None:
        document["promotions"][0] |= {"gates": [], "tags": ["v{label:version}-{tag}"]}

    world = World(tmp_path, change)
    await image(world.place("ci-pool"), "1.0", labels={"version": label})
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "TAGS_UNCLEAR")
    said = outcome.reasons[0] + outcome.remedy
    assert "\x1b" not in said and "\n" not in said
    said.encode()
    record = next(Ledger.of_scope(world.ledgers, "prod").records())
    assert record.body["code"] == "TAGS_UNCLEAR"
    assert await world.nodes.of(PROD).repositories(CALL) == (await world.nodes.of("sandbox-eu").repositories(CALL))
    world.store.close()


async def test_what_signed_evidence_says_is_data_too(world: World) -> None:
    made = await index(world.place("ci-pool"), "1.0")
    source = world.place("ci-pool")
    payload = b'{"critical": {"image": {"docker-manifest-digest": "\\ud800\\u001b[2J"}}}'
    await _signature_tag(source, made, [payload])
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "GATE_REFUSED")
    said = "".join(outcome.reasons)
    assert "\x1b" not in said and "names no image by its digest" in said
    said.encode()


async def _signature_tag(source: Place, made: Manifest, payloads: list[bytes]) -> None:
    layers = []
    for payload in payloads:
        blob = await put(source, payload, SIMPLE_SIGNING)
        signature = base64.b64encode(key("release").sign(payload)).decode()
        layers.append(Descriptor(SIMPLE_SIGNING, blob.digest, blob.size, {SIGNATURE: signature}).to_json())
    config = await put(source, b"{}", "application/vnd.oci.image.config.v1+json")
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": layers}
    await push(source, body, OCI_MANIFEST, f"sha256-{made.digest.hex}.sig")


async def test_a_signature_about_another_image_counts_for_nothing(world: World) -> None:
    source = world.place("ci-pool")
    made, other = await index(source, "1.0", salt="a"), await index(source, "2.0", salt="b")
    for layout in (Layout.REFERRER, Layout.BUNDLE):  # signed is the other one; the subject says this one
        named = await sign(source, CALL, other.digest, world.key, layout=layout)
        manifest = await source.registry.get_manifest(CALL, source.repository, str(named))
        body = json.loads(manifest.content) | {"subject": made.descriptor.to_json()}
        await push(source, body, OCI_MANIFEST)
    outcome = await world.promote()
    assert outcome.code == "GATE_REFUSED"
    assert sum(f"but for {other.digest}" in each for each in outcome.reasons) == 2


async def test_a_thousand_signatures_are_bounded_and_the_right_one_early_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.place("ci-pool")
    made = await index(source, "1.0")
    payloads = [
        json.dumps({"critical": {"image": {"docker-manifest-digest": str(made.digest)}}, "n": number}).encode()
        for number in range(1000)
    ]
    await _signature_tag(source, made, payloads)
    opened, asked = source.registry.open_blob, list[Digest]()

    async def counted(call: Any, repository: str, digest: Digest, *more: Any) -> Any:
        asked.append(digest)
        return await opened(call, repository, digest, *more)

    monkeypatch.setattr(source.registry, "open_blob", counted)
    outcome = await world.promote(dry_run=True)
    assert outcome.ending is Ending.PLANNED and len(asked) < 10


async def test_signatures_past_the_limit_are_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promotions.gates.evidence.MAX_SIGNATURES", 20)
    source = world.place("ci-pool")
    made = await index(source, "1.0")
    await _signature_tag(source, made, [json.dumps({"n": number}).encode() for number in range(50)])
    outcome = await world.promote()
    assert outcome.code == "GATE_REFUSED"
    record = next(Ledger.of_scope(world.ledgers, "prod").records())
    assert len(record.body["verdicts"][0]["reasons"]) <= 12


# Names and references


async def test_a_repository_name_of_the_longest_kind(world: World) -> None:
    name = ("apps/" + "a" * 300)[:255]
    made = await image(without_gates(world).place("ci-pool", name), "1.0")
    outcome = await world.engine().promote(Request(name, "1.0", edge="to-prod"), CI)
    assert outcome.ending is Ending.DONE and await world.shown("prod", "1.0", name) == str(made.digest)


async def test_the_same_digest_under_another_tag_is_another_promotion(world: World) -> None:
    made = await world.signed_image("1.0")
    await world.place("ci-pool").registry.put_manifest(CALL, "apps/api", made, tags=("again",))
    first, second = await world.promote("1.0"), await world.promote("again")
    assert first.promotion != second.promotion and second.ending is Ending.DONE
    assert await world.shown("prod", "again") == await world.shown("prod", "1.0") == str(made.digest)
    kinds = [each.kind for each in trace(world.ledgers, str(made.digest))]
    assert kinds == ["promotion", "promotion"]


async def test_a_then_b_then_a_again(world: World) -> None:
    one, two = await world.signed_image("1.0"), await world.signed_image("2.0")
    outcomes = [await world.promote(tag) for tag in ("1.0", "2.0", "1.0", "1.0")]
    assert [each.ending for each in outcomes] == [Ending.DONE] * 3 + [Ending.NOTHING_TO_DO]
    assert len({each.promotion for each in outcomes}) == 3
    moves = [dict(each.tags)["stable"] for each in trace(world.ledgers, str(one.digest))]
    assert moves == [None, str(two.digest)]
    assert [dict(each.tags)["stable"] for each in trace(world.ledgers, str(two.digest))] == [str(one.digest)]


# Lies and races


async def test_a_receipt_is_not_believed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()
    prod = world.nodes.of(PROD)

    async def lies(call: Any, repository: str, txid: str, wanted: Any) -> TagReceipt:
        effects = [{"tag": each.tag, "old": each.expect, "new": each.to} for each in wanted.tags]
        return TagReceipt.model_validate({"txid": txid, "rev": 10**6, "at": 0.0, "actor": "x", "effects": effects})

    monkeypatch.setattr(prod, "commit_tags", lies)
    outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.INTEGRITY, "INTEGRITY")
    assert "gave a receipt" in outcome.reasons[0] and "shows nothing" in outcome.reasons[0]
    assert [each.kind for each in Ledger.of_scope(world.ledgers, "prod").records()] == ["refusal"]


async def test_a_tag_that_moved_on_since_is_no_lie(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()
    prod = world.nodes.of(PROD)
    other = await image(world.place("prod"), salt="other")
    commit = prod.commit_tags

    async def then_moved(*args: Any) -> TagReceipt:
        receipt = await commit(*args)
        prod._state.set_tag(CALL, "apps/api", "stable", other.digest)  # type: ignore[attr-defined]
        return receipt

    monkeypatch.setattr(prod, "commit_tags", then_moved)
    assert (await world.promote()).ending is Ending.DONE


async def test_the_node_keeps_its_own_time(world: World) -> None:
    """An engine whose clock is a day behind commits all the same: leases are measured by who gave them."""
    made = await world.signed_image()
    real = world.now
    world.now = lambda: real() - 86400
    assert (await world.promote()).ending is Ending.DONE
    assert await world.shown("prod", "1.0") == str(made.digest)


async def test_two_engines_on_one_store(world: World) -> None:
    made = await world.signed_image()
    stores = [Store.open(world.folder / "engine") for _ in range(2)]
    engines = [Engine(world.topology, world.nodes, each, world.ledgers, ONCE) for each in stores]
    request = Request("apps/api", "1.0", edge="to-prod")
    outcomes: list[Outcome] = await asyncio.gather(*(engines[at % 2].promote(request, CI) for at in range(20)))
    assert {each.ending for each in outcomes} == {Ending.DONE, Ending.NOTHING_TO_DO}
    assert len({each.promotion for each in outcomes}) == 1
    records = list(Ledger.of_scope(world.ledgers, "prod").records())
    assert [each.kind for each in records] == ["promotion"]
    assert await world.shown("prod", "1.0") == str(made.digest)
    for store in stores:
        store.close()


# What is left, and by whom


def frozen(document: dict[str, Any]) -> None:
    freeze = {"name": "now", "edges": ["to-prod"], "cron": "* * * * *", "for": "2h", "reason": "an incident"}
    document["freezes"] = [freeze]


async def test_a_right_that_was_taken_away_ends_what_waits(tmp_path: Path) -> None:
    world = World(tmp_path, frozen)
    await world.signed_image()
    waiting = await world.promote()
    engine = world.engine()
    engine.topology = topology(tmp_path, lambda document: document["groups"]["ci"].update(users=["dev"]))
    (outcome,) = await Queue(engine, rest=0.0).work()
    assert (outcome.promotion, outcome.ending, outcome.code) == (waiting.promotion, Ending.FAILED, "NOT_ALLOWED")
    assert await world.shown("prod", "1.0") is None
    record = list(Ledger.of_scope(world.ledgers, "prod").records())[-1]
    assert (record.kind, record.body["code"]) == ("refusal", "NOT_ALLOWED")
    assert await Queue(engine, rest=0.0).work() == []
    world.store.close()


async def test_a_source_that_went_away_ends_what_waits(tmp_path: Path) -> None:
    world = World(tmp_path, frozen)
    made = await world.signed_image()
    await world.promote()
    await world.place("ci-pool").registry.delete_manifest(CALL, "apps/api", made.digest)
    (outcome,) = await Queue(world.engine(), rest=0.0).work()
    assert (outcome.ending, outcome.code) == (Ending.FAILED, "SOURCE_UNKNOWN")
    assert await world.store.live() == []
    world.store.close()


async def test_a_commit_that_landed_settles_without_its_source(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.signed_image()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        outcome = await world.promote()
    assert (outcome.ending, outcome.code) == (Ending.ERRORED, "DISK")
    await world.place("ci-pool").registry.delete_manifest(CALL, "apps/api", made.digest)
    (settled,) = await Queue(world.engine(), rest=0.0).work()
    assert (settled.promotion, settled.ending) == (outcome.promotion, Ending.DONE)
    assert [each.kind for each in trace(world.ledgers, str(made.digest))] == ["promotion"]


async def test_what_errs_for_too_long_expires(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()
    source = world.nodes.of("ci-pool-eu")

    async def away(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    with monkeypatch.context() as patch:
        patch.setattr(world.nodes.of(PROD), "put_blob", away)
        outcome = await world.promote()
    assert outcome.ending is Ending.ERRORED and source
    real = world.now
    world.now = lambda: real() + 8 * 86400
    (ended,) = await Queue(world.engine(), rest=0.0).work()
    assert (ended.code, ended.state) == ("EXPIRED", State.EXPIRED)
    assert await world.store.live() == []


async def test_the_queue_leaves_alone_what_somebody_runs(tmp_path: Path) -> None:
    world = World(tmp_path, frozen)
    await world.signed_image()
    waiting = await world.promote()
    async with world.store.claimed(waiting.promotion):
        assert await Queue(world.engine(), rest=0.0).work() == []
    assert len(await Queue(world.engine(), rest=0.0).work()) == 1
    world.store.close()


async def test_the_queue_goes_on_after_the_clock_was_put_back(tmp_path: Path) -> None:
    world = World(tmp_path, frozen)
    await world.signed_image()
    await world.promote()
    real = world.now
    world.now = lambda: real() - 3600
    assert len(await Queue(world.engine()).work()) == 1
    world.store.close()


# The engine's own files


async def test_a_full_disk_says_so_and_the_promotion_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.signed_image()
    from sqlalchemy.exc import OperationalError

    def full(*_: Any, **__: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    def begin(event: Progress) -> None:
        if isinstance(event, Entered) and event.state is State.COPYING:
            monkeypatch.setattr("promotions.store.writing", full)

    with pytest.raises(DatabaseUnusable, match=r"promotions\.db cannot be used: database or disk is full; free space"):
        await world.promote(watch=begin)
    monkeypatch.undo()
    assert (await world.promote()).ending is Ending.DONE


async def test_a_refusal_stays_one_when_the_ledger_is_broken(world: World) -> None:
    ledger = Ledger.of_scope(world.ledgers, "prod")
    ledger.append("promotion", "earlier", {})
    ledger.path.write_bytes(b"")
    outcome = await world.promote(who=DEV)
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "NOT_ALLOWED")
    assert "the ledger does not take this refusal" in outcome.reasons[-1]


def test_a_garbled_head_stops_appending(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "prod.ndjson")
    ledger.append("promotion", "one", {})
    ledger.append("promotion", "two", {})
    ledger.path.write_bytes(ledger.path.read_bytes().splitlines(keepends=True)[0])
    ledger.head_path.write_text("garbage")
    with pytest.raises(LedgerBroken, match="head file"):
        ledger.append("promotion", "three", {})


async def test_nobody_is_somebody(world: World) -> None:
    await world.signed_image()
    outcome = await world.promote(who=Principal("", frozenset({"ci"})))
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, "NOT_ALLOWED")


@pytest.mark.parametrize("damage", ["cut", "reordered", "edited", "removed"])
async def test_a_damaged_ledger_takes_nothing_and_traces_nothing(world: World, damage: str) -> None:
    made = await world.signed_image("1.0")
    for tag in ("1.0", "2.0", "3.0"):
        await world.signed_image(tag) if tag != "1.0" else None
        await world.promote(tag)
    ledger = Ledger.of_scope(world.ledgers, "prod")
    whole = ledger.path.read_bytes()
    one, two, three = whole.splitlines(keepends=True)
    ledger.path.write_bytes(
        {
            "cut": one + two,
            "reordered": two + one + three,
            "edited": one.replace(b"ci-runner", b"mallory") + two + three,
            "removed": one + three,
        }[damage]
    )
    with pytest.raises(LedgerBroken):
        trace(world.ledgers, str(made.digest))
    assert not ledger.verify().whole
    outcome = await world.promote("1.0")
    if damage == "edited":  # the links still fit: only hashing everything again shows it, which trace and verify do
        assert outcome.ending is Ending.DONE
        return
    assert (outcome.ending, outcome.code) == (Ending.ERRORED, "LEDGER")
    assert "restore it from a copy" in outcome.remedy
    ledger.path.write_bytes(whole)
    again = await world.promote("1.0")
    assert (again.ending, again.promotion, again.remedy) == (Ending.DONE, outcome.promotion, "")


async def test_a_digest_alone_says_how_to_give_the_tag(world: World) -> None:
    made = await world.signed_image()
    outcome = await world.promote(str(made.digest))
    assert outcome.code == "TAGS_UNCLEAR" and outcome.remedy == f"ask for apps/api:TAG@{made.digest}"
    assert (await world.promote(str(made.digest), tag="1.0")).ending is Ending.DONE


async def test_sha512_end_to_end(world: World) -> None:
    source = without_gates(world).place("ci-pool")
    child = await image(source)
    made = await push(source, index_of(child), OCI_INDEX, "1.0", algorithm="sha512")
    assert made.digest.algorithm == "sha512"
    outcome = await world.promote()
    assert outcome.ending is Ending.DONE, outcome
    assert await world.shown("prod", "1.0") == str(made.digest)


async def test_a_broken_ledger_does_not_end_the_follower(world: World) -> None:
    await index(world.place("prod"), "1.0")
    edge = world.topology.replication("everywhere")
    assert edge is not None
    ledger = Ledger.of_scope(world.ledgers, "prod")
    ledger.append("promotion", "earlier", {})
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(b"")
    replicator = Replicator(world.topology, world.nodes, world.store, world.ledgers)
    follower = Follower(replicator, edge, wait=0.0)
    (report,) = await follower.once()
    assert "the head file knows record 1" in report.targets[0].problem
    ledger.path.write_bytes(whole)
    (report,) = await follower.once()
    assert report.whole and [each.kind for each in ledger.records()] == ["promotion", "replication"]
