"""Extension: leases, holds, tag transactions, tag states, closure, events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Conflict, Denied, Gone, ManifestUnknown, NameUnknown, PreconditionFailed
from oci_wire.extension import (
    Event,
    Extension,
    Hold,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    TagChange,
    TagTransaction,
)
from tests.contract.content import CALL, image, index, push
from tests.contract.implementations import EXTENSION, SPARSE, Implementation

needs_extension = pytest.mark.needs(EXTENSION)
SOON = 300.0


async def _lease(registry: Extension, repository: str, holder: str = "engine-1", ttl: float = 60) -> Lease:
    return await registry.take_lease(CALL, repository, LeaseRequest(holder=holder, ttl=ttl))


def _change(tag: str, expect: Digest | None, to: Digest | None) -> TagChange:
    return TagChange(tag=tag, expect=str(expect) if expect else None, to=str(to) if to else None)


def _transaction(lease: Lease, *changes: TagChange, actor: str = "ci", late: bool = False) -> TagTransaction:
    not_after = time.time() + (-SOON if late else SOON)
    return TagTransaction(lease=lease.id, token=lease.token, not_after=not_after, actor=actor, tags=changes)


def _txid() -> str:
    return f"tx-{uuid4().hex}"


async def _events(registry: Extension, repository: str, after: int = 0) -> list[Event]:
    return [each async for each in registry.events(CALL, after=after) if each.repository == repository]


async def _position(registry: Extension) -> int:
    return max([each.position async for each in registry.events(CALL)], default=0)


async def test_features(registry: Any, implementation: Implementation) -> None:
    assert isinstance(registry, Extension)
    found = await registry.features(CALL)
    if EXTENSION not in implementation.capabilities:
        assert found is None or not {"leases", "transactions", "holds"} & set(found.features)
        return
    assert found is not None
    assert "v1" in found.versions
    assert {"leases", "holds", "transactions", "tags", "closure", "events"} <= set(found.features)


@needs_extension
async def test_one_holder_at_a_time(registry: Extension, repository: str) -> None:
    lease = await _lease(registry, repository)
    assert lease.holder == "engine-1"
    with pytest.raises(Conflict) as refused:
        await _lease(registry, repository, "engine-2")
    assert "engine-1" in str(refused.value)
    await registry.release_lease(CALL, repository, lease.id, lease.token)
    assert (await _lease(registry, repository, "engine-2")).token > lease.token


@needs_extension
async def test_the_same_holder_gets_a_newer_token(registry: Extension, repository: str) -> None:
    first = await _lease(registry, repository)
    second = await _lease(registry, repository)
    assert second.token > first.token
    renewed = await registry.renew_lease(CALL, repository, second.id, LeaseRenewal(token=second.token, ttl=120))
    assert (renewed.token, renewed.expires > second.expires) == (second.token, True)
    with pytest.raises(Gone):
        await registry.renew_lease(CALL, repository, first.id, LeaseRenewal(token=first.token))
    with pytest.raises(Gone):
        await registry.release_lease(CALL, repository, first.id, first.token)


@needs_extension
async def test_a_lease_that_ran_out_is_gone(registry: Extension, repository: str) -> None:
    lease = await _lease(registry, repository, ttl=0.05)
    await asyncio.sleep(0.1)
    with pytest.raises(Gone):
        await registry.renew_lease(CALL, repository, lease.id, LeaseRenewal(token=lease.token))
    taken = await _lease(registry, repository, "engine-2")
    assert taken.token > lease.token
    with pytest.raises(Gone):
        await registry.release_lease(CALL, repository, lease.id, lease.token)


@needs_extension
async def test_a_transaction_sets_moves_and_removes_at_once(registry: Any, repository: str) -> None:
    old = await push(registry, repository, b"old", tags=["moves", "goes"])
    new = await push(registry, repository, b"new")
    lease = await _lease(registry, repository)
    before = await registry.tag_states(CALL, repository)
    changes = (
        _change("moves", old.digest, new.digest),
        _change("goes", old.digest, None),
        _change("comes", None, new.digest),
    )
    receipt = await registry.commit_tags(CALL, repository, _txid(), _transaction(lease, *changes))
    assert receipt.actor == "ci"
    assert receipt.rev > before.rev
    assert {(each.tag, each.old, each.new) for each in receipt.effects} == {
        ("moves", str(old.digest), str(new.digest)),
        ("goes", str(old.digest), None),
        ("comes", None, str(new.digest)),
    }
    states = await registry.tag_states(CALL, repository)
    assert {each.tag: each.digest for each in states.tags} == {"moves": str(new.digest), "comes": str(new.digest)}
    assert states.rev == receipt.rev


@needs_extension
async def test_the_same_transaction_again_gives_the_same_receipt(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    change, txid = _change("v1", None, pushed.digest), _txid()
    first = await registry.commit_tags(CALL, repository, txid, _transaction(await _lease(registry, repository), change))
    resumed = await _lease(registry, repository)  # an engine that was killed and has come back
    assert await registry.commit_tags(CALL, repository, txid, _transaction(resumed, change)) == first
    assert await registry.commit_tags(CALL, repository, txid, _transaction(resumed, change, late=True)) == first
    assert await registry.read_transaction(CALL, repository, txid) == first


@needs_extension
async def test_a_transaction_id_is_for_one_thing(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    lease, txid = await _lease(registry, repository), _txid()
    await registry.commit_tags(CALL, repository, txid, _transaction(lease, _change("v1", None, pushed.digest)))
    with pytest.raises(Conflict):
        await registry.commit_tags(CALL, repository, txid, _transaction(lease, _change("v2", None, pushed.digest)))
    with pytest.raises(ManifestUnknown):
        await registry.resolve(CALL, repository, "v2")


@needs_extension
async def test_what_was_not_expected_changes_nothing(registry: Any, repository: str) -> None:
    one = await push(registry, repository, b"one", tags=["a"])
    two = await push(registry, repository, b"two")
    lease, txid = await _lease(registry, repository), _txid()
    changes = (_change("new", None, two.digest), _change("a", two.digest, two.digest), _change("b", one.digest, None))
    with pytest.raises(PreconditionFailed) as refused:
        await registry.commit_tags(CALL, repository, txid, _transaction(lease, *changes))
    assert refused.value.detail == {"a": str(one.digest), "b": None}
    assert (await registry.tags(CALL, repository)).items == ("a",)
    assert await registry.read_transaction(CALL, repository, txid) is None
    receipt = await registry.commit_tags(CALL, repository, txid, _transaction(lease, changes[0]))
    assert receipt.txid == txid  # what did not land has not used up its id


@needs_extension
async def test_a_fenced_engine_changes_nothing(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    stale = await _lease(registry, repository)
    current = await _lease(registry, repository)
    change = _change("v1", None, pushed.digest)
    for lease in (stale, stale.model_copy(update={"token": current.token + 1}), current.model_copy(update={"id": "x"})):
        with pytest.raises(Conflict):
            await registry.commit_tags(CALL, repository, _txid(), _transaction(lease, change))
    await registry.release_lease(CALL, repository, current.id, current.token)
    with pytest.raises(Conflict):
        await registry.commit_tags(CALL, repository, _txid(), _transaction(current, change))
    assert (await registry.tags(CALL, repository)).items == ()


@needs_extension
async def test_a_late_transaction_is_gone(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    lease = await _lease(registry, repository)
    with pytest.raises(Gone):
        transaction = _transaction(lease, _change("v1", None, pushed.digest), late=True)
        await registry.commit_tags(CALL, repository, _txid(), transaction)
    assert (await registry.tags(CALL, repository)).items == ()


@needs_extension
async def test_a_tag_points_to_nothing_that_is_not_here(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    lease = await _lease(registry, repository)
    changes = (_change("v1", None, pushed.digest), _change("v2", None, Digest.of(b"never pushed")))
    with pytest.raises(ManifestUnknown):
        await registry.commit_tags(CALL, repository, _txid(), _transaction(lease, *changes))
    assert (await registry.tags(CALL, repository)).items == ()


@needs_extension
async def test_an_aborted_transaction_never_lands(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    lease, txid = await _lease(registry, repository), _txid()
    transaction = _transaction(lease, _change("v1", None, pushed.digest))
    assert await registry.read_transaction(CALL, repository, txid) is None
    await registry.abort_transaction(CALL, repository, txid)
    await registry.abort_transaction(CALL, repository, txid)
    with pytest.raises(Conflict):
        await registry.commit_tags(CALL, repository, txid, transaction)
    landed = _txid()
    await registry.commit_tags(CALL, repository, landed, transaction)
    with pytest.raises(Conflict):
        await registry.abort_transaction(CALL, repository, landed)
    assert (await registry.tags(CALL, repository)).items == ("v1",)


@needs_extension
async def test_one_of_many_racers_wins(registry: Any, repository: str) -> None:
    images = [await push(registry, repository, bytes([number])) for number in range(5)]
    lease = await _lease(registry, repository)
    outcomes = await asyncio.gather(
        *(
            registry.commit_tags(CALL, repository, _txid(), _transaction(lease, _change("race", None, each.digest)))
            for each in images
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(each, BaseException) for each in outcomes) == 1
    assert sum(isinstance(each, PreconditionFailed) for each in outcomes) == 4


@needs_extension
async def test_tag_states_in_pages(registry: Any, repository: str) -> None:
    first = await push(registry, repository, b"one", tags=["a", "b", "c"])
    whole = await registry.tag_states(CALL, repository)
    assert [(each.tag, each.digest) for each in whole.tags] == [(tag, str(first.digest)) for tag in "abc"]
    assert all(0 < each.rev <= whole.rev and each.pushed > 0 for each in whole.tags)
    assert whole.next is None
    page = await registry.tag_states(CALL, repository, limit=2)
    assert ([each.tag for each in page.tags], page.next) == (["a", "b"], "b")
    rest = await registry.tag_states(CALL, repository, after=page.next, limit=2)
    assert ([each.tag for each in rest.tags], rest.next) == (["c"], None)


@needs_extension
async def test_tag_states_say_when_nothing_has_changed(registry: Any, repository: str) -> None:
    await push(registry, repository, b"one", tags=["a"])
    before = await registry.tag_states(CALL, repository)
    assert await registry.tag_states(CALL, repository, known_rev=before.rev) is None
    await push(registry, repository, b"two", tags=["a"])
    after = await registry.tag_states(CALL, repository, known_rev=before.rev)
    assert after.rev > before.rev
    with pytest.raises(NameUnknown):
        await registry.tag_states(CALL, f"{repository}/none")


@needs_extension
async def test_the_rev_never_starts_again(registry: Any, repository: str) -> None:
    """Else an old compare-and-swap could pass after a deletion."""
    pushed = await push(registry, repository, b"one", tags=["a"])
    before = (await registry.tag_states(CALL, repository)).rev
    await registry.delete_manifest(CALL, repository, pushed.digest)
    await push(registry, repository, b"one", tags=["a"])
    assert (await registry.tag_states(CALL, repository)).rev > before


@needs_extension
async def test_a_hold_tells_what_is_here_and_keeps_it(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    absent = str(Digest.of(b"never pushed"))
    hold = Hold(digests=(str(pushed.digest), absent), until=time.time() + SOON, reason="a test needs it")
    receipt = await registry.put_hold(CALL, repository, "pr_1", hold)
    assert (receipt.present, receipt.missing) == ((str(pushed.digest),), (absent,))
    with pytest.raises((Denied, Conflict)):
        await registry.delete_manifest(CALL, repository, pushed.digest)
    assert (await registry.resolve(CALL, repository, str(pushed.digest))).digest == pushed.digest
    await registry.drop_hold(CALL, repository, "pr_1")
    await registry.drop_hold(CALL, repository, "pr_1")
    await registry.delete_manifest(CALL, repository, pushed.digest)


@needs_extension
async def test_a_hold_ends(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    hold = Hold(digests=(str(pushed.digest),), until=time.time() - 1, reason="over")
    await registry.put_hold(CALL, repository, "pr_1", hold)
    await registry.delete_manifest(CALL, repository, pushed.digest)


@needs_extension
async def test_a_whole_closure(registry: Any, repository: str) -> None:
    children = [await push(registry, repository, layer) for layer in (b"amd64", b"arm64")]
    whole = index(*(each.descriptor for each in children))
    await registry.put_manifest(CALL, repository, whole)
    for rehash in (False, True):
        found = await registry.closure(CALL, repository, whole.digest, rehash=rehash)
        assert (found.complete, found.manifests, found.blobs, found.missing) == (True, 3, 3, ())
        assert found.bytes == whole.size + sum(each.size for each in children) + len(b"{}amd64arm64")


@pytest.mark.needs(EXTENSION, SPARSE)
async def test_a_closure_with_holes(registry: Any, repository: str) -> None:
    here = await push(registry, repository, b"here")
    absent = image(b"elsewhere")
    sparse = index(here.descriptor, absent.descriptor)
    await registry.put_manifest(CALL, repository, sparse)
    await registry.delete_blob(CALL, repository, Digest.of(b"here"))
    found = await registry.closure(CALL, repository, sparse.digest)
    assert not found.complete
    missing = {each.split(": ")[0] for each in found.missing}
    assert missing == {str(absent.digest), str(Digest.of(b"here"))}


@needs_extension
async def test_the_closure_of_nothing(registry: Any, repository: str) -> None:
    await push(registry, repository, b"image")
    nothing = Digest.of(b"never pushed")
    found = await registry.closure(CALL, repository, nothing)
    assert (found.complete, found.manifests) == (False, 0)
    assert found.missing[0].startswith(str(nothing))


def _tag_events(events: Sequence[Event]) -> list[tuple[str | None, str | None, str | None]]:
    return [(each.tag, each.old, each.digest) for each in events if each.kind == "tag"]


@needs_extension
async def test_events_tell_every_change_in_order(registry: Any, repository: str) -> None:
    start = await _position(registry)
    one = await push(registry, repository, b"one", tags=["a"])
    two = await push(registry, repository, b"two", tags=["a"])
    await registry.delete_tag(CALL, repository, "a")
    await registry.delete_manifest(CALL, repository, one.digest)
    events = await _events(registry, repository, start)
    assert _tag_events(events) == [
        ("a", None, str(one.digest)),
        ("a", str(one.digest), str(two.digest)),
        ("a", str(two.digest), None),
    ]
    assert {each.digest for each in events if each.kind == "manifest"} == {str(one.digest), str(two.digest)}
    assert [each.kind for each in events][-1] == "manifest-deleted"
    positions = [each.position for each in events]
    assert positions == sorted(set(positions))
    revs = [each.rev for each in events if each.kind == "tag"]
    assert revs == sorted(set(revs))
    assert await _events(registry, repository, positions[-1]) == []
    assert await _events(registry, repository, positions[1]) == events[2:]


@needs_extension
async def test_a_transaction_is_told_with_its_actor(registry: Any, repository: str) -> None:
    pushed = await push(registry, repository, b"image")
    start = await _position(registry)
    lease = await _lease(registry, repository)
    changes = (_change("a", None, pushed.digest), _change("b", None, pushed.digest))
    await registry.commit_tags(CALL, repository, _txid(), _transaction(lease, *changes, actor="edge to-prod"))
    events = [each for each in await _events(registry, repository, start) if each.kind == "tag"]
    assert {(each.tag, each.actor) for each in events} == {("a", "edge to-prod"), ("b", "edge to-prod")}


@needs_extension
async def test_waiting_for_an_event(registry: Any, repository: str) -> None:
    start = await _position(registry)

    async def first() -> Event:
        event: Event
        async for event in registry.events(CALL, after=start, wait=30):
            return event
        raise AssertionError("the wait ended without an event")

    waiting = asyncio.create_task(first())
    await asyncio.sleep(0.05)
    pushed = await push(registry, repository, b"image")
    assert (await waiting).digest == str(pushed.digest)


@needs_extension
async def test_no_events_within_the_wait(registry: Any, repository: str) -> None:
    start = await _position(registry)
    assert [each async for each in registry.events(CALL, after=start, wait=0.05)] == []


@needs_extension
async def test_events_that_never_were_are_gone(registry: Any, repository: str) -> None:
    await push(registry, repository, b"image", tags=["a"])
    with pytest.raises(Gone):
        await _events(registry, repository, 10**12)


@needs_extension
async def test_why_a_reference_means_what_it_means(registry: Any, repository: str) -> None:
    before = time.time()
    pushed = await push(registry, repository, b"why", tags=["1.0"])
    by_tag = await registry.why(CALL, repository, "1.0")
    assert (by_tag.repository, by_tag.reference, by_tag.digest) == (repository, "1.0", str(pushed.digest))
    assert by_tag.answered == by_tag.node
    assert [(each.member, each.outcome) for each in by_tag.asked] == [(by_tag.node, "answered")]
    assert by_tag.pushed is not None
    assert before - 5 < by_tag.pushed < time.time() + 5
    by_digest = await registry.why(CALL, repository, str(pushed.digest))
    assert (by_digest.digest, by_digest.pushed) == (str(pushed.digest), None)
    absent = await registry.why(CALL, repository, "2.0")
    assert (absent.digest, absent.answered, absent.pushed) == (None, None, None)
    assert [each.outcome for each in absent.asked] == ["absent"]
