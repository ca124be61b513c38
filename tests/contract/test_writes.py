"""Writer: what is acknowledged is there; what is refused has left nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
    TagInvalid,
)
from oci_wire.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from oci_wire.registry import Registry, once
from tests.contract.content import CALL, described, image, index, push, push_blob, stream
from tests.contract.implementations import CHECKED, FORGETS, SESSION_RANGE, SHA512, SPARSE

BIG = bytes(range(251)) * 1000  # several pieces of a client, of no round size


async def _absent(registry: Registry, repository: str, digest: Digest) -> bool:
    try:
        await registry.stat_blob(CALL, repository, digest)
    except (BlobUnknown, NameUnknown):
        return True
    return False


@pytest.mark.parametrize("cut", [1000, 64 * 1024, len(BIG)])
async def test_a_blob_in_any_chunks(registry: Registry, repository: str, cut: int) -> None:
    chunks = [BIG[at : at + cut] for at in range(0, len(BIG), cut)]
    stored = await registry.put_blob(CALL, repository, described(BIG), stream(*chunks, b""))
    assert (stored.digest, stored.size) == (Digest.of(BIG), len(BIG))
    assert await (await registry.open_blob(CALL, repository, stored.digest)).read() == BIG


async def test_wrong_bytes_are_refused_and_leave_nothing(registry: Registry, repository: str) -> None:
    for content in (b"right" * 50_000, b"right"):
        wrong = bytearray(content)
        wrong[-1] ^= 1
        with pytest.raises(DigestInvalid):
            await registry.put_blob(CALL, repository, described(content), once(bytes(wrong)))
        assert await _absent(registry, repository, Digest.of(content))
        assert await _absent(registry, repository, Digest.of(bytes(wrong)))


@pytest.mark.parametrize("change", [-1, 1])
async def test_a_wrong_size_is_refused(registry: Registry, repository: str, change: int) -> None:
    told = Descriptor("application/octet-stream", Digest.of(BIG), len(BIG) + change)
    with pytest.raises(SizeInvalid):
        await registry.put_blob(CALL, repository, told, once(BIG))
    assert await _absent(registry, repository, told.digest)


async def test_a_source_that_breaks_leaves_nothing(registry: Registry, repository: str) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield BIG[:100_000]
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        await registry.put_blob(CALL, repository, described(BIG), breaking())
    assert await _absent(registry, repository, Digest.of(BIG))


async def test_two_pushes_of_one_blob_at_once_both_succeed(registry: Registry, repository: str) -> None:
    await asyncio.gather(*(push_blob(registry, repository, BIG) for _ in range(4)))
    assert await (await registry.open_blob(CALL, repository, Digest.of(BIG))).read() == BIG


async def test_a_session_from_beginning_to_end(registry: Registry, repository: str) -> None:
    upload = await registry.start_upload(CALL, repository)
    assert upload.offset == 0
    upload = await registry.append(CALL, repository, upload.id, once(BIG[:70_000]), start=0)
    assert upload.offset == 70_000
    upload = await registry.upload_status(CALL, repository, upload.id)
    assert upload.offset == 70_000
    upload = await registry.append(CALL, repository, upload.id, stream(BIG[70_000:90_000], BIG[90_000:100_000]))
    assert upload.offset == 100_000
    stored = await registry.finish_upload(
        CALL, repository, upload.id, Digest.of(BIG), once(BIG[100_000:]), start=100_000
    )
    assert (stored.digest, stored.size) == (Digest.of(BIG), len(BIG))
    assert await (await registry.open_blob(CALL, repository, stored.digest)).read() == BIG


async def test_a_finished_session_is_gone(registry: Registry, repository: str) -> None:
    upload = await registry.start_upload(CALL, repository)
    upload = await registry.append(CALL, repository, upload.id, once(b"all"), start=0)
    await registry.finish_upload(CALL, repository, upload.id, Digest.of(b"all"))
    with pytest.raises(BlobUploadUnknown):
        await registry.upload_status(CALL, repository, upload.id)


async def test_a_finish_with_the_wrong_digest_stores_nothing(registry: Registry, repository: str) -> None:
    upload = await registry.start_upload(CALL, repository)
    upload = await registry.append(CALL, repository, upload.id, once(b"these"), start=0)
    with pytest.raises(DigestInvalid):
        await registry.finish_upload(CALL, repository, upload.id, Digest.of(b"those"))
    assert await _absent(registry, repository, Digest.of(b"these"))
    assert await _absent(registry, repository, Digest.of(b"those"))


@pytest.mark.needs(SESSION_RANGE)
@pytest.mark.parametrize("start", [1, 4, 6, 1000])
async def test_a_chunk_out_of_order_changes_nothing(registry: Registry, repository: str, start: int) -> None:
    upload = await registry.start_upload(CALL, repository)
    upload = await registry.append(CALL, repository, upload.id, once(b"12345"), start=0)
    with pytest.raises(RangeInvalid):
        await registry.append(CALL, repository, upload.id, once(b"wrong"), start=start)
    assert (await registry.upload_status(CALL, repository, upload.id)).offset == 5
    await registry.finish_upload(CALL, repository, upload.id, Digest.of(b"1234567"), once(b"67"), start=5)
    assert await (await registry.open_blob(CALL, repository, Digest.of(b"1234567"))).read() == b"1234567"


async def test_a_cancelled_session_is_gone(registry: Registry, repository: str) -> None:
    upload = await registry.start_upload(CALL, repository)
    await registry.cancel_upload(CALL, repository, upload.id)
    with pytest.raises(BlobUploadUnknown):
        await registry.upload_status(CALL, repository, upload.id)
    with pytest.raises(BlobUploadUnknown):
        await registry.cancel_upload(CALL, repository, upload.id)


async def test_a_session_that_never_was_is_unknown(registry: Registry, repository: str) -> None:
    await push_blob(registry, repository, b"{}")
    with pytest.raises(BlobUploadUnknown):
        await registry.upload_status(CALL, repository, "no-such-session")


@pytest.mark.needs(SHA512)
async def test_a_sha512_session(registry: Registry, repository: str) -> None:
    digest = Digest.of(BIG, "sha512")
    upload = await registry.start_upload(CALL, repository, algorithm="sha512")
    upload = await registry.append(CALL, repository, upload.id, once(BIG), start=0)
    await registry.finish_upload(CALL, repository, upload.id, digest)
    assert (await registry.stat_blob(CALL, repository, digest)).size == len(BIG)


async def test_a_mount_gives_the_blob_without_sending_it(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, BIG)
    there = f"{repository}/mounted"
    assert await registry.mount_blob(CALL, there, pushed.digest, repository)
    assert await (await registry.open_blob(CALL, there, pushed.digest)).read() == BIG


async def test_a_mount_of_what_the_source_has_not_is_declined(registry: Registry, repository: str) -> None:
    await push_blob(registry, repository, b"{}")
    absent = Digest.of(b"not in the source")
    for source in (repository, f"{repository}/none"):
        assert not await registry.mount_blob(CALL, f"{repository}/there", absent, source)
    assert await _absent(registry, f"{repository}/there", absent)


async def test_a_manifest_wants_its_blobs_first(registry: Registry, repository: str) -> None:
    await push_blob(registry, repository, b"{}")
    manifest = image(b"a layer that nobody pushed")
    with pytest.raises(ManifestBlobUnknown):
        await registry.put_manifest(CALL, repository, manifest, tags=["v1"])
    with pytest.raises((ManifestUnknown, NameUnknown)):
        await registry.resolve(CALL, repository, "v1")
    with pytest.raises((ManifestUnknown, NameUnknown)):
        await registry.resolve(CALL, repository, str(manifest.digest))


async def test_the_blobs_of_another_repository_do_not_count(registry: Registry, repository: str) -> None:
    layer = repository.encode()
    await push(registry, f"{repository}/other", layer)
    await push_blob(registry, repository, b"{}")
    with pytest.raises(ManifestBlobUnknown):
        await registry.put_manifest(CALL, repository, image(layer))


async def test_several_tags_at_once_and_a_tag_that_moves(registry: Registry, repository: str) -> None:
    tags = [f"v{number}" for number in range(12)]
    first = await push(registry, repository, b"one", tags=tags)
    for tag in tags:
        assert (await registry.resolve(CALL, repository, tag)).digest == first.digest
    second = await push(registry, repository, b"two", tags=["v0"])
    assert (await registry.resolve(CALL, repository, "v0")).digest == second.digest
    assert (await registry.resolve(CALL, repository, "v1")).digest == first.digest
    assert (await registry.get_manifest(CALL, repository, str(first.digest))).content == first.content


async def test_a_bad_tag_stores_no_tag(registry: Registry, repository: str) -> None:
    await push_blob(registry, repository, b"{}")
    with pytest.raises(TagInvalid):
        await registry.put_manifest(CALL, repository, image(), tags=["good", "not/good"])
    with pytest.raises((ManifestUnknown, NameUnknown)):
        await registry.resolve(CALL, repository, "good")


async def test_an_index_of_two_platforms(registry: Registry, repository: str) -> None:
    children = [await push(registry, repository, layer) for layer in (b"amd64", b"arm64")]
    pushed = index(*(each.descriptor for each in children))
    await registry.put_manifest(CALL, repository, pushed, tags=["multi"])
    found = await registry.get_manifest(CALL, repository, "multi")
    assert found.is_index
    assert [each.digest for each in found.children] == [each.digest for each in children]
    outer = index(pushed.descriptor)
    await registry.put_manifest(CALL, repository, outer, tags=["nested"])
    assert (await registry.get_manifest(CALL, repository, "nested")).content == outer.content


@pytest.mark.needs(SPARSE)
async def test_a_sparse_index_is_taken(registry: Registry, repository: str) -> None:
    here = await push(registry, repository, b"here")
    sparse = index(here.descriptor, image(b"elsewhere").descriptor)
    await registry.put_manifest(CALL, repository, sparse, tags=["sparse"])
    assert (await registry.resolve(CALL, repository, "sparse")).digest == sparse.digest


async def test_dockers_own_media_types(registry: Registry, repository: str) -> None:
    await push_blob(registry, repository, b"{}")
    await push_blob(registry, repository, b"layer")
    body = json.loads(image(b"layer").content) | {"mediaType": DOCKER_MANIFEST}
    body["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    body["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    pushed = Manifest.parse(json.dumps(body).encode(), DOCKER_MANIFEST)
    await registry.put_manifest(CALL, repository, pushed, tags=["docker"])
    platform = {"architecture": "amd64", "os": "linux"}
    entries = [pushed.descriptor.to_json() | {"platform": platform}]
    listed = {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}
    many = Manifest.parse(json.dumps(listed).encode(), DOCKER_LIST)
    await registry.put_manifest(CALL, repository, many, tags=["list"])
    for tag, expected in (("docker", pushed), ("list", many)):
        found = await registry.get_manifest(CALL, repository, tag)
        assert (found.content, found.media_type) == (expected.content, expected.media_type)


async def test_the_same_manifest_again_is_fine(registry: Registry, repository: str) -> None:
    first = await push(registry, repository, b"same", tags=["v1"])
    assert (await registry.put_manifest(CALL, repository, first, tags=["v1"])).digest == first.digest


async def test_every_refusal_is_one_of_the_protocols_errors(registry: Registry, repository: str) -> None:
    for name in ("Bad Name", "x" * 256):
        with pytest.raises(RegistryError):
            await registry.start_upload(CALL, name)
        with pytest.raises(RegistryError):
            await registry.put_manifest(CALL, name, image())


@pytest.mark.needs(CHECKED)
@pytest.mark.parametrize("change", [-1, 1])
async def test_a_manifest_that_tells_another_size_is_refused(registry: Registry, repository: str, change: int) -> None:
    """No client could pull such an image."""
    manifest = await push(registry, repository, b"layer")
    body = json.loads(manifest.content)
    body["layers"][0]["size"] += change
    wrong = Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)
    with pytest.raises(ManifestInvalid):
        await registry.put_manifest(CALL, repository, wrong, tags=["wrong"])
    with pytest.raises(ManifestUnknown):
        await registry.resolve(CALL, repository, "wrong")


@pytest.mark.needs(CHECKED, FORGETS)
async def test_a_digest_keeps_its_type(registry: Registry, repository: str) -> None:
    """Bytes without a mediaType are what they were first pushed as: no later push changes what a tag means."""
    first = await push(registry, repository, b"layer")
    body = json.loads(first.content)
    del body["mediaType"]
    content = json.dumps(body).encode()
    oci, docker = Manifest.parse(content, OCI_MANIFEST), Manifest.parse(content, DOCKER_MANIFEST)
    await registry.put_manifest(CALL, repository, oci, tags=["v1"])
    with pytest.raises(ManifestInvalid):
        await registry.put_manifest(CALL, repository, docker, tags=["v2"])
    assert (await registry.resolve(CALL, repository, "v1")).media_type == OCI_MANIFEST
    await registry.delete_manifest(CALL, repository, oci.digest)
    await registry.put_manifest(CALL, repository, docker, tags=["v1"])
    assert (await registry.resolve(CALL, repository, "v1")).media_type == DOCKER_MANIFEST
