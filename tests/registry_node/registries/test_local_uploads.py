"""Upload sessions: order, restarts, ownership, expiry, takeovers, and what a failure leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, BlobUploadUnknown, DigestInvalid, RangeInvalid, TooManyRequests
from oci_wire.registry import Call, once
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.pushes import CI, cut
from tests.registry_node.registries.conftest import Clock

Open = Callable[..., LocalRegistry]


async def test_chunks_in_order_make_a_blob(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    await local.append(CI, "a", upload.id, once(b"one "), start=0)
    assert (await local.append(CI, "a", upload.id, once(b"two "), start=4)).offset == 8
    digest = Digest.of(b"one two three")
    await local.finish_upload(CI, "a", upload.id, digest, once(b"three"), start=8)
    assert await (await local.open_blob(CI, "a", digest)).read() == b"one two three"
    with pytest.raises(BlobUploadUnknown):
        await local.upload_status(CI, "a", upload.id)
    assert list(local.folder.glob("uploads/*")) == []


async def test_a_chunk_out_of_order_changes_nothing(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    await local.append(CI, "a", upload.id, once(b"one "))
    for start in (0, 3, 5):
        with pytest.raises(RangeInvalid):
            await local.append(CI, "a", upload.id, once(b"two "), start=start)
        with pytest.raises(RangeInvalid):
            await local.finish_upload(CI, "a", upload.id, Digest.of(b"x"), once(b"two"), start=start)
    digest = Digest.of(b"one two")
    await local.finish_upload(CI, "a", upload.id, digest, once(b"two"), start=4)
    assert (await local.stat_blob(CI, "a", digest)).size == 7


async def test_a_session_goes_on_after_a_restart(opened: Open) -> None:
    registry = opened()
    upload = await registry.start_upload(CI, "a")
    await registry.append(CI, "a", upload.id, once(b"before "))
    registry.close()
    registry = opened()
    assert (await registry.upload_status(CI, "a", upload.id)).offset == 7
    digest = Digest.of(b"before after")
    await registry.finish_upload(CI, "a", upload.id, digest, once(b"after"), start=7)
    assert await (await registry.open_blob(CI, "a", digest)).read() == b"before after"


async def test_another_algorithm_than_announced(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    digest = Digest.of(b"content", "sha512")
    await local.finish_upload(CI, "a", upload.id, digest, once(b"content"))
    assert await (await local.open_blob(CI, "a", digest)).read() == b"content"


async def test_the_empty_blob(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    digest = Digest.of(b"")
    await local.finish_upload(CI, "a", upload.id, digest)
    stream = await local.open_blob(CI, "a", digest)
    assert stream.length == 0
    assert await stream.read() == b""


async def test_the_wrong_digest_ends_the_session_and_leaves_no_blob(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    with pytest.raises(DigestInvalid):
        await local.finish_upload(CI, "a", upload.id, Digest.of(b"right"), once(b"wrong"))
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "a", Digest.of(b"right"))
    with pytest.raises(BlobUploadUnknown):
        await local.upload_status(CI, "a", upload.id)
    assert list(local.folder.glob("uploads/*")) == []


async def test_bytes_before_a_cut_stay(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    with pytest.raises(ConnectionResetError):
        await local.append(CI, "a", upload.id, cut(b"who", b"le"))
    assert (await local.upload_status(CI, "a", upload.id)).offset == 5
    digest = Digest.of(b"whole blob")
    await local.finish_upload(CI, "a", upload.id, digest, once(b" blob"), start=5)


async def test_a_session_belongs_to_its_repository_and_to_whoever_opened_it(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    for call, repository, session in (
        (Call("mallory"), "a", upload.id),
        (Call(), "a", upload.id),
        (CI, "b", upload.id),
        (CI, "a", "../../index.db"),
        (CI, "a", "0" * 32),
    ):
        with pytest.raises(BlobUploadUnknown):
            await local.upload_status(call, repository, session)
        with pytest.raises(BlobUploadUnknown):
            await local.append(call, repository, session, once(b"x"))
        with pytest.raises(BlobUploadUnknown):
            await local.cancel_upload(call, repository, session)
    assert (await local.upload_status(CI, "a", upload.id)).offset == 0


async def test_a_cancelled_session_is_gone(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    await local.append(CI, "a", upload.id, once(b"x"))
    await local.cancel_upload(CI, "a", upload.id)
    with pytest.raises(BlobUploadUnknown):
        await local.cancel_upload(CI, "a", upload.id)
    assert list(local.folder.glob("uploads/*")) == []


async def test_sessions_expire_unless_they_are_used(opened: Open, clock: Clock) -> None:
    registry = opened(clock=clock, limits=Limits(upload_session_seconds=1000))
    idle, used = await registry.start_upload(CI, "a"), await registry.start_upload(CI, "a")
    clock.now += 900
    await registry.append(CI, "a", used.id, once(b"x"))
    clock.now += 200
    with pytest.raises(BlobUploadUnknown):
        await registry.upload_status(CI, "a", idle.id)
    assert (await registry.upload_status(CI, "a", used.id)).offset == 1
    fresh = await registry.start_upload(CI, "a")
    assert {path.name for path in registry.folder.glob("uploads/*")} == {used.id, fresh.id}


async def test_a_newer_request_takes_over_from_a_stuck_one(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    stuck, more = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 1024 * 1024
        stuck.set()
        await more.wait()
        yield b"late"

    first = asyncio.create_task(local.append(CI, "a", upload.id, slow()))
    await stuck.wait()
    size = 1024 * 1024
    assert (await local.append(CI, "a", upload.id, once(b"new"), start=size)).offset == size + 3
    more.set()
    with pytest.raises(RangeInvalid):
        await first
    assert (await local.upload_status(CI, "a", upload.id)).offset == size + 3


async def test_a_cancelled_request_leaves_file_and_hash_in_step(local: LocalRegistry) -> None:
    upload = await local.start_upload(CI, "a")
    block = b"x" * 1024 * 1024

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield block
            await asyncio.sleep(0)

    task = asyncio.create_task(local.append(CI, "a", upload.id, endless()))
    while (await local.upload_status(CI, "a", upload.id)).offset < 3 * len(block):
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    offset = (await local.append(CI, "a", upload.id, once(b"end"))).offset
    digest = Digest.of(b"x" * (offset - 3) + b"end")
    await local.finish_upload(CI, "a", upload.id, digest)
    assert (await local.stat_blob(CI, "a", digest)).size == offset


async def test_two_sessions_of_one_blob_both_succeed(local: LocalRegistry) -> None:
    content = b"same" * 300_000
    digest = Digest.of(content)

    async def push() -> None:
        upload = await local.start_upload(CI, "a")
        await local.append(CI, "a", upload.id, once(content))
        await local.finish_upload(CI, "a", upload.id, digest)

    await asyncio.gather(push(), push(), push())
    assert await (await local.open_blob(CI, "a", digest)).read() == content


async def test_an_unknown_algorithm_is_refused_at_once(local: LocalRegistry) -> None:
    with pytest.raises(DigestInvalid):
        await local.start_upload(CI, "a", algorithm="md5")


async def test_open_sessions_of_one_identity_are_counted(opened: Open, clock: Clock) -> None:
    registry = opened(limits=Limits(upload_sessions=2, upload_session_seconds=60), clock=clock)
    first = await registry.start_upload(CI, "a")
    await registry.start_upload(CI, "b")
    with pytest.raises(TooManyRequests):
        await registry.start_upload(CI, "a")
    assert len(list((registry.folder / "uploads").iterdir())) == 2
    await registry.start_upload(Call("another"), "a")
    await registry.cancel_upload(CI, "a", first.id)
    await registry.start_upload(CI, "a")
    clock.now += 61
    await registry.start_upload(CI, "a")  # those that are over do not count
