"""What the twin has beyond the contract: a clock, immutable tags, a capacity, events that end."""

from __future__ import annotations

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Conflict, Gone, InsufficientStorage, TagImmutable
from oci_wire.extension import LeaseRequest, TagChange, TagTransaction
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import once
from tests.contract.content import CALL, push, push_blob

REPOSITORY = "apps/api"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_leases_live_by_the_clock() -> None:
    clock = Clock()
    registry = MemoryRegistry(clock=clock)
    lease = await registry.take_lease(CALL, REPOSITORY, LeaseRequest(holder="one", ttl=60))
    assert lease.expires == 1_060
    clock.now += 59
    with pytest.raises(Conflict):
        await registry.take_lease(CALL, REPOSITORY, LeaseRequest(holder="two", ttl=60))
    clock.now += 1
    assert (await registry.take_lease(CALL, REPOSITORY, LeaseRequest(holder="two", ttl=60))).token == lease.token + 1


async def test_a_transaction_is_late_by_the_clock() -> None:
    clock = Clock()
    registry = MemoryRegistry(clock=clock)
    pushed = await push(registry, REPOSITORY)
    lease = await registry.take_lease(CALL, REPOSITORY, LeaseRequest(holder="one", ttl=60))
    change = TagChange(tag="v1", expect=None, to=str(pushed.digest))
    transaction = TagTransaction(lease=lease.id, token=lease.token, not_after=1_010, actor="a", tags=(change,))
    clock.now = 1_011
    with pytest.raises(Gone):
        await registry.commit_tags(CALL, REPOSITORY, "t1", transaction)
    clock.now = 1_010
    assert (await registry.commit_tags(CALL, REPOSITORY, "t1", transaction)).at == 1_010


async def test_an_immutable_tag_neither_moves_nor_goes() -> None:
    registry = MemoryRegistry(immutable_tags=["v*"])
    first = await push(registry, REPOSITORY, b"one", tags=["v1", "latest"])
    other = await push(registry, REPOSITORY, b"two", tags=["latest"])
    with pytest.raises(TagImmutable):
        await registry.put_manifest(CALL, REPOSITORY, other, tags=["new", "v1"])
    with pytest.raises(TagImmutable):
        await registry.delete_tag(CALL, REPOSITORY, "v1")
    with pytest.raises(TagImmutable):
        await registry.delete_manifest(CALL, REPOSITORY, first.digest)
    lease = await registry.take_lease(CALL, REPOSITORY, LeaseRequest(holder="one", ttl=60))
    change = TagChange(tag="v1", expect=str(first.digest), to=str(other.digest))
    transaction = TagTransaction(lease=lease.id, token=lease.token, not_after=10**10, actor="a", tags=(change,))
    with pytest.raises(TagImmutable):
        await registry.commit_tags(CALL, REPOSITORY, "t1", transaction)
    assert (await registry.tags(CALL, REPOSITORY)).items == ("latest", "v1")
    await registry.put_manifest(CALL, REPOSITORY, first, tags=["v1"])  # the same again is no change


async def test_a_full_registry_says_so() -> None:
    registry = MemoryRegistry(capacity=10)
    await push_blob(registry, REPOSITORY, b"12345678")
    with pytest.raises(InsufficientStorage):
        await push_blob(registry, REPOSITORY, b"abc")
    await push_blob(registry, "another/place", b"12345678")  # these bytes are here already
    upload = await registry.start_upload(CALL, REPOSITORY)
    await registry.append(CALL, REPOSITORY, upload.id, once(b"abc"))
    with pytest.raises(InsufficientStorage):
        await registry.finish_upload(CALL, REPOSITORY, upload.id, Digest.of(b"abc"))


async def test_events_that_are_no_longer_kept_are_gone() -> None:
    registry = MemoryRegistry(keep_events=3)
    await push(registry, REPOSITORY, tags=["a", "b", "c", "d"])  # one manifest, four tags
    with pytest.raises(Gone):
        [event async for event in registry.events(CALL, after=1)]
    assert [event.position async for event in registry.events(CALL, after=2)] == [3, 4, 5]


async def test_a_pull_by_tag_is_remembered() -> None:
    clock = Clock()
    registry = MemoryRegistry(clock=clock)
    await push(registry, REPOSITORY, tags=["v1"])
    clock.now = 2_000
    await registry.resolve(CALL, REPOSITORY, "v1")
    assert [each.pulled for each in (await registry.tag_states(CALL, REPOSITORY)).tags] == [None]  # type: ignore[union-attr]  # not 304
    await registry.get_manifest(CALL, REPOSITORY, "v1")
    assert [each.pulled for each in (await registry.tag_states(CALL, REPOSITORY)).tags] == [2_000]  # type: ignore[union-attr]  # not 304
