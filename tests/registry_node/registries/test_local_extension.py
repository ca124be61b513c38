"""Leases, holds, tag transactions and events of the local registry, beyond the shared contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import (
    Conflict,
    Denied,
    Gone,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    RegistryError,
    TagImmutable,
)
from oci_wire.extension import Event, Hold, LeaseRenewal, LeaseRequest, TagReceipt
from registry_node.registries.local import LocalRegistry
from tests.registry_node.pushes import CI, change, manifest_of, put_blob, put_image, set_tags, transaction
from tests.registry_node.registries.conftest import Clock

Open = Callable[..., LocalRegistry]


async def seen(registry: LocalRegistry, after: int = 0, wait: float = 0.0) -> list[Event]:
    return [event async for event in registry.events(CI, after=after, wait=wait)]


async def test_tokens_grow_over_release_expiry_restart_and_a_lost_index(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock)
    first = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    again = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    assert (again.id, again.token > first.token) == (first.id, True)
    with pytest.raises(Conflict):
        await registry.take_lease(CI, "a", LeaseRequest(holder="two", ttl=60))
    await registry.release_lease(CI, "a", again.id, again.token)
    second = await registry.take_lease(CI, "a", LeaseRequest(holder="two", ttl=60))
    clock.now += 61
    registry.close()
    registry = opened(clock=clock)
    third = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    registry.close()
    for path in registry.folder.glob("index.db*"):
        path.unlink()
    clock.now += 1
    fourth = await opened(clock=clock).take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    tokens = [first.token, again.token, second.token, third.token, fourth.token]
    assert tokens == sorted(set(tokens))


async def test_renewal_needs_the_current_token(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock)
    old = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    new = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=60))
    with pytest.raises(Gone):
        await registry.renew_lease(CI, "a", old.id, LeaseRenewal(token=old.token))
    clock.now += 50
    assert (
        await registry.renew_lease(CI, "a", new.id, LeaseRenewal(token=new.token, ttl=60))
    ).expires == clock.now + 60
    clock.now += 60
    with pytest.raises(Gone):
        await registry.renew_lease(CI, "a", new.id, LeaseRenewal(token=new.token))
    with pytest.raises(Gone):
        await registry.release_lease(CI, "a", new.id, new.token)


async def test_a_held_digest_stays_until_its_time(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock)
    image = await put_image(registry, "a", b"layer", tags=["v1"])
    absent = manifest_of(b"absent")
    layer = Digest.of(b"layer")
    wanted = (str(image.digest), str(layer), str(absent.digest))
    receipt = await registry.put_hold(CI, "a", "pr_1", Hold(digests=wanted, until=clock.now + 10, reason="soaks"))
    assert receipt.present == wanted[:2]
    assert receipt.missing == wanted[2:]
    with pytest.raises(Denied, match="pr_1: soaks"):
        await registry.delete_manifest(CI, "a", image.digest)
    with pytest.raises(Denied, match="pr_1: soaks"):
        await registry.delete_blob(CI, "a", layer)
    assert (await registry.tags(CI, "a")).items == ("v1",)
    clock.now += 11
    await registry.delete_manifest(CI, "a", image.digest)
    await registry.put_hold(CI, "a", "pr_1", Hold(digests=wanted, until=clock.now + 10, reason="again"))
    await registry.put_hold(CI, "a", "pr_1", Hold(digests=(), until=clock.now + 10, reason="replaced"))
    await registry.delete_blob(CI, "a", layer)
    await registry.drop_hold(CI, "a", "pr_1")
    await registry.drop_hold(CI, "a", "pr_1")


async def test_all_tags_change_or_none(local: LocalRegistry) -> None:
    one, two = await put_image(local, "a", b"1", tags=["v1"]), await put_image(local, "a", b"2")
    before = await local.tag_states(CI, "a")
    wanted = await transaction(local, "a", change("v2", None, two), change("v1", two, one), change("v3", one, None))
    with pytest.raises(PreconditionFailed) as refused:
        await local.commit_tags(CI, "a", "t1", wanted)
    assert refused.value.detail == {"v1": str(one.digest), "v3": None}
    assert await local.tag_states(CI, "a") == before
    receipt = await set_tags(local, "a", change("v2", None, two), change("v1", one, None))
    assert (await local.tags(CI, "a")).items == ("v2",)
    after = await local.tag_states(CI, "a")
    assert after is not None
    assert receipt.rev == after.rev == after.tags[0].rev
    assert await local.tag_states(CI, "a", known_rev=after.rev) is None


async def test_a_missing_target_and_an_immutable_tag_refuse_the_whole(opened: Open) -> None:
    registry = opened(immutable_tags=("v1",))
    one, two = await put_image(registry, "a", b"1", tags=["v1"]), await put_image(registry, "a", b"2")
    with pytest.raises(ManifestUnknown):
        await set_tags(registry, "a", change("v2", None, two), change("v3", None, manifest_of(b"3")))
    with pytest.raises(TagImmutable):
        await set_tags(registry, "a", change("v2", None, two), change("v1", one, two))
    assert (await registry.tags(CI, "a")).items == ("v1",)


async def test_the_same_transaction_again_gives_the_first_receipt_also_after_the_index_was_lost(opened: Open) -> None:
    registry = opened()
    one = await put_image(registry, "a", b"1")
    wanted = await transaction(registry, "a", change("v1", None, one), change("v2", None, one))
    receipt = await registry.commit_tags(CI, "a", "t1", wanted)
    later = await transaction(registry, "a", *wanted.tags)
    assert await registry.commit_tags(CI, "a", "t1", later) == receipt
    with pytest.raises(Conflict):
        await registry.commit_tags(CI, "a", "t1", await transaction(registry, "a", change("v1", one, None)))
    with pytest.raises(Conflict) as landed:
        await registry.abort_transaction(CI, "a", "t1")
    assert TagReceipt.model_validate(landed.value.detail) == receipt
    registry.close()
    for path in registry.folder.glob("index.db*"):
        path.unlink()
    registry = opened()
    recovered = await registry.read_transaction(CI, "a", "t1")
    assert recovered is not None
    assert recovered.effects == receipt.effects
    assert (await registry.commit_tags(CI, "a", "t1", wanted)).rev == receipt.rev
    with pytest.raises(Conflict):
        await registry.commit_tags(CI, "a", "t1", await transaction(registry, "a", change("v1", one, None)))


async def test_an_aborted_transaction_never_lands(local: LocalRegistry) -> None:
    one = await put_image(local, "a", b"1")
    assert await local.read_transaction(CI, "a", "t1") is None
    await local.abort_transaction(CI, "a", "t1")
    await local.abort_transaction(CI, "a", "t1")
    with pytest.raises(Conflict):
        await local.commit_tags(CI, "a", "t1", await transaction(local, "a", change("v1", None, one)))
    assert (await local.tags(CI, "a")).items == ()


async def test_a_stopped_engine_that_wakes_late_is_refused(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock)
    one = await put_image(registry, "a", b"1")
    wanted = await transaction(registry, "a", change("v1", None, one), not_after=clock.now + 500)
    await transaction(registry, "a", change("v1", None, one))  # the same engine, started again: a newer token
    with pytest.raises(Conflict):
        await registry.commit_tags(CI, "a", "t1", wanted)
    wanted = await transaction(registry, "a", change("v1", None, one), not_after=clock.now + 5)
    clock.now += 6
    with pytest.raises(Gone):
        await registry.commit_tags(CI, "a", "t2", wanted)
    clock.now += 60
    with pytest.raises(Conflict):
        await registry.commit_tags(CI, "a", "t3", wanted)
    assert (await registry.tags(CI, "a")).items == ()


async def test_exactly_one_of_many_racing_transactions_wins(local: LocalRegistry) -> None:
    images = [await put_image(local, "a", bytes([n])) for n in range(8)]
    lease = await transaction(local, "a", change("v1", None, images[0]))

    async def try_(n: int) -> bool:
        wanted = lease.model_copy(update={"tags": (change("v1", None, images[n]),)})
        try:
            await local.commit_tags(CI, "a", f"t{n}", wanted)
        except PreconditionFailed:
            return False
        return True

    won = await asyncio.gather(*(try_(n) for n in range(8)))
    assert won.count(True) == 1
    assert (await local.resolve(CI, "a", "v1")).digest == images[won.index(True)].digest


async def test_racing_retags_leave_one_of_them_and_a_rev_for_each(local: LocalRegistry) -> None:
    images = [await put_image(local, "a", bytes([n])) for n in range(6)]
    before = await local.tag_states(CI, "a")
    assert before is not None
    await asyncio.gather(*(local.put_manifest(CI, "a", each, tags=["v1"]) for each in images))
    after = await local.tag_states(CI, "a")
    assert after is not None
    assert after.rev == before.rev + 6
    assert after.tags[0].digest in {str(each.digest) for each in images}
    moves = [each for each in await seen(local) if each.kind == "tag"]
    assert [each.old for each in moves[1:]] == [each.digest for each in moves[:-1]]


async def test_a_rev_is_not_reused_when_a_tag_comes_back(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"1", tags=["v1"])
    revs = []
    for _ in range(3):
        await local.delete_tag(CI, "a", "v1")
        await local.put_manifest(CI, "a", image, tags=["v1"])
        states = await local.tag_states(CI, "a")
        assert states is not None
        revs.append(states.tags[0].rev)
    assert revs == sorted(set(revs))


async def test_replication_keeps_the_time_of_the_origin(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"1")
    wanted = await transaction(local, "a", change("v1", None, image), origin_time=1234.5)
    await local.commit_tags(CI, "a", "t1", wanted)
    states = await local.tag_states(CI, "a")
    assert states is not None
    assert states.tags[0].pushed == 1234.5


async def test_tag_states_come_in_pages(local: LocalRegistry) -> None:
    await put_image(local, "a", tags=["a", "b", "c"])
    first = await local.tag_states(CI, "a", limit=2)
    assert first is not None
    assert ([each.tag for each in first.tags], first.next) == (["a", "b"], "b")
    rest = await local.tag_states(CI, "a", after="b", limit=2)
    assert rest is not None
    assert ([each.tag for each in rest.tags], rest.next) == (["c"], None)
    with pytest.raises(NameUnknown):
        await local.tag_states(CI, "nowhere")


async def test_events_tell_all_changes_in_order_also_after_a_restart(opened: Open) -> None:
    registry = opened()
    image = await put_image(registry, "a", b"1", tags=["v1"])
    await registry.put_manifest(CI, "a", image, tags=["v1"])  # nothing new
    await registry.delete_manifest(CI, "a", image.digest)
    registry.close()
    registry = opened()
    events = await seen(registry)
    digest = str(image.digest)
    assert [(each.kind, each.tag, each.old, each.digest, each.actor) for each in events] == [
        ("manifest", None, None, digest, "ci"),
        ("tag", "v1", None, digest, "ci"),
        ("tag", "v1", digest, None, "ci"),
        ("manifest-deleted", None, digest, None, "ci"),
    ]
    assert [each.position for each in events] == sorted({each.position for each in events})
    assert await seen(registry, after=events[1].position) == events[2:]
    assert await seen(registry, after=events[-1].position) == []


async def test_a_position_from_another_history_is_gone(local: LocalRegistry) -> None:
    await put_image(local, "a", b"1", tags=["v1"])
    with pytest.raises(Gone) as gone:
        await seen(local, after=10**6)
    assert gone.value.detail == {"position": (await seen(local))[-1].position}


async def test_a_waiting_reader_wakes_at_the_change(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"1", tags=["v1"])
    last = (await seen(local))[-1].position
    waiting = asyncio.create_task(seen(local, after=last, wait=100))
    await asyncio.sleep(0)
    await put_blob(local, "a", b"no news")
    await local.put_manifest(CI, "a", image, tags=["v2"])
    assert [each.tag for each in await waiting] == ["v2"]
    assert await seen(local, after=last + 1, wait=0.01) == []


async def test_what_it_offers(local: LocalRegistry) -> None:
    features = await local.features(CI)
    assert features is not None
    assert "transactions" in features.features


async def test_every_refusal_has_a_code(local: LocalRegistry) -> None:
    with pytest.raises(RegistryError) as refused:
        await local.put_hold(CI, "UPPER", "x", Hold(digests=(), until=0, reason=""))
    assert refused.value.code == "NAME_INVALID"


async def test_a_clock_set_back_does_not_make_a_lease_last(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock)
    old = await registry.take_lease(CI, "a", LeaseRequest(holder="one", ttl=300))
    clock.now -= 30  # put right a little: the lease runs on
    await registry.renew_lease(CI, "a", old.id, LeaseRenewal(token=old.token, ttl=300))
    clock.now -= 24 * 3600
    new = await registry.take_lease(CI, "a", LeaseRequest(holder="two", ttl=60))
    assert new.token > old.token
    with pytest.raises(Gone):
        await registry.renew_lease(CI, "a", old.id, LeaseRenewal(token=old.token))
