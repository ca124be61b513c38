"""What the local registry keeps, serves and refuses, beyond the contract that every registry has."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    InsufficientStorage,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
    TagImmutable,
    Unavailable,
)
from oci_wire.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Manifest
from oci_wire.registry import ByteRange, Call, once
from registry_node.registries.local import LocalRegistry
from tests.registry_node.images import descriptor
from tests.registry_node.pushes import CI, cut, index_of, manifest_of, put_blob, put_image

Open = Callable[..., LocalRegistry]


async def test_everything_is_there_after_a_restart(opened: Open) -> None:
    registry = opened()
    image = await put_image(registry, "apps/api", b"layer", tags=["1.0", "latest"])
    registry.close()
    again = opened()
    assert (await again.get_manifest(CI, "apps/api", "1.0")).content == image.content
    assert (await again.tags(CI, "apps/api")).items == ("1.0", "latest")
    assert await (await again.open_blob(CI, "apps/api", Digest.of(b"layer"))).read() == b"layer"
    assert (await again.closure(CI, "apps/api", image.digest, rehash=True)).complete


async def test_closing_twice_is_allowed(local: LocalRegistry) -> None:
    local.close()
    local.close()


async def test_a_blob_is_served_only_where_it_was_pushed(local: LocalRegistry) -> None:
    digest = await put_blob(local, "a", b"secret")
    await put_blob(local, "b", b"other")
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "b", digest)
    with pytest.raises(NameUnknown):
        await local.stat_blob(CI, "c", digest)


async def test_a_manifest_is_served_only_where_it_was_pushed(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"layer")
    await put_blob(local, "b", b"other")
    with pytest.raises(ManifestUnknown):
        await local.get_manifest(CI, "b", str(image.digest))


async def test_two_repositories_may_differ_about_the_type_of_the_same_bytes(local: LocalRegistry) -> None:
    bare = manifest_of(b"layer").content.replace(b'"mediaType": "%s",\n' % OCI_MANIFEST.encode(), b"", 1)
    for repository, kind in (("oci", OCI_MANIFEST), ("docker", DOCKER_MANIFEST)):
        for content in (b"{}", b"layer"):
            await put_blob(local, repository, content)
        await local.put_manifest(CI, repository, Manifest.parse(bare, kind), tags=["v1"])
    assert (await local.resolve(CI, "oci", "v1")).media_type == OCI_MANIFEST
    assert (await local.get_manifest(CI, "docker", "v1")).media_type == DOCKER_MANIFEST


async def test_a_manifest_needs_its_blobs_in_its_own_repository(local: LocalRegistry) -> None:
    await put_blob(local, "a", b"{}")
    await put_blob(local, "b", b"layer")
    with pytest.raises(ManifestBlobUnknown) as refused:
        await local.put_manifest(CI, "a", manifest_of(b"layer"), tags=["v1"])
    assert refused.value.detail == [str(Digest.of(b"layer"))]
    with pytest.raises(ManifestUnknown):
        await local.resolve(CI, "a", "v1")


async def test_a_manifest_that_is_not_its_digest_is_refused(local: LocalRegistry) -> None:
    image = manifest_of()
    await put_blob(local, "a", b"{}")
    forged = Manifest(image.content + b" ", image.media_type, image.digest, image.blobs)
    with pytest.raises(ManifestInvalid):
        await local.put_manifest(CI, "a", forged)


async def test_an_index_may_be_sparse_and_the_closure_says_so(local: LocalRegistry) -> None:
    here = await put_image(local, "a", b"amd64")
    index = index_of(here, manifest_of(b"arm64"))
    await local.put_manifest(CI, "a", index, tags=["v1"])
    report = await local.closure(CI, "a", index.digest)
    assert not report.complete
    assert [each.partition(": ")[0] for each in report.missing] == [str(manifest_of(b"arm64").digest)]


async def test_an_index_that_may_not_be_sparse_needs_its_manifests(opened: Open) -> None:
    registry = opened(sparse_indexes=False)
    here = await put_image(registry, "a", b"amd64")
    with pytest.raises(ManifestBlobUnknown) as refused:
        await registry.put_manifest(CI, "a", index_of(here, manifest_of(b"arm64")), tags=["v1"])
    assert refused.value.detail == [str(manifest_of(b"arm64").digest)]
    await put_image(registry, "a", b"arm64")
    await registry.put_manifest(CI, "a", index_of(here, manifest_of(b"arm64")), tags=["v1"])


async def test_a_deleted_blob_is_gone_at_once_and_its_manifest_cannot_be_pushed_again(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"layer", tags=["v1"])
    await local.delete_blob(CI, "a", Digest.of(b"layer"))
    with pytest.raises(BlobUnknown):
        await local.open_blob(CI, "a", Digest.of(b"layer"))
    with pytest.raises(ManifestBlobUnknown):
        await local.put_manifest(CI, "a", image, tags=["v2"])
    assert not (await local.closure(CI, "a", image.digest)).complete


async def test_a_mounted_blob_outlives_its_source(local: LocalRegistry) -> None:
    digest = await put_blob(local, "a", b"layer")
    assert await local.mount_blob(CI, "b", digest, "a")
    await local.delete_blob(CI, "a", digest)
    assert await (await local.open_blob(CI, "b", digest)).read() == b"layer"


async def test_mount_needs_a_source_that_has_it(local: LocalRegistry) -> None:
    digest = await put_blob(local, "a", b"layer")
    await put_blob(local, "b", b"other")
    assert not await local.mount_blob(CI, "c", digest, "b")
    assert not await local.mount_blob(CI, "c", digest, "nowhere")
    assert not await local.mount_blob(CI, "c", Digest.of(b"absent"), None)
    assert await local.mount_blob(CI, "c", digest, None)
    assert local.reads.blob_sources(digest) == ("a", "c")
    assert local.reads.blob_sources(digest, after="a", limit=1) == ("c",)


async def test_ranges(local: LocalRegistry) -> None:
    digest = await put_blob(local, "a", b"0123456789")
    for span, expected in (
        (ByteRange(2, 5), b"234"),
        (ByteRange(7), b"789"),
        (ByteRange(-3), b"789"),
        (ByteRange(8, 100), b"89"),
        (ByteRange(-100), b"0123456789"),
    ):
        stream = await local.open_blob(CI, "a", digest, span)
        assert stream.path is not None
        assert stream.path.read_bytes()[stream.start : stream.stop] == expected
        assert await stream.read() == expected
    with pytest.raises(RangeInvalid):
        await local.open_blob(CI, "a", digest, ByteRange(10))


async def test_a_stream_left_early_closes_its_file(local: LocalRegistry) -> None:
    content = b"x" * 3_000_000
    digest = await put_blob(local, "a", content)
    stream = await local.open_blob(CI, "a", digest)
    async with stream:
        assert len(await anext(stream.chunks)) < len(content)
    with pytest.raises(StopAsyncIteration):
        await anext(stream.chunks)


async def test_a_reader_that_is_cancelled_lets_its_thread_finish(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await put_blob(local, "a", b"content")
    reading, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> Iterator[bytes]:
        reading.set()
        go_on.wait(10)
        yield b"content"

    monkeypatch.setattr("registry_node.registries.local.pieces", slow)
    stream = await local.open_blob(CI, "a", digest)
    task = asyncio.create_task(stream.read())
    await asyncio.to_thread(reading.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("said", "sent", "refused"),
    [
        (b"right", b"wrong", DigestInvalid),
        (b"longer than it", b"longer", SizeInvalid),
        (b"short", b"short and more", SizeInvalid),
    ],
)
async def test_a_blob_that_is_not_what_it_says_leaves_nothing(
    local: LocalRegistry, said: bytes, sent: bytes, refused: type[Exception]
) -> None:
    digest = Digest.of(said)
    with pytest.raises(refused):
        await local.put_blob(CI, "a", Descriptor(OCTET_STREAM, digest, len(said)), once(sent))
    await put_blob(local, "a", b"other")
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "a", digest)
    assert list(local.folder.glob("temp/*")) == []


async def test_a_client_that_goes_away_leaves_nothing(local: LocalRegistry) -> None:
    digest = Digest.of(b"whole")
    with pytest.raises(ConnectionResetError):
        await local.put_blob(CI, "a", Descriptor(OCTET_STREAM, digest, 5), cut(b"who"))
    assert list(local.folder.glob("temp/*")) == []


async def test_two_pushes_of_one_blob_at_once_both_succeed(local: LocalRegistry) -> None:
    content = b"layer" * 100_000
    digests = await asyncio.gather(*(put_blob(local, f"r{n % 2}", content) for n in range(6)))
    assert set(digests) == {Digest.of(content)}
    assert await (await local.open_blob(CI, "r1", digests[0])).read() == content


async def test_sha512_all_the_way(local: LocalRegistry) -> None:
    for content in (b"{}", b"layer"):
        digest = Digest.of(content, "sha512")
        await local.put_blob(CI, "a", Descriptor(OCTET_STREAM, digest, len(content)), once(content))
        assert await (await local.open_blob(CI, "a", digest)).read() == content
    layers = [descriptor(b"layer", "layer", "sha512")]
    body = {"schemaVersion": 2, "config": descriptor(b"{}", "config", "sha512"), "layers": layers}
    image = Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST, algorithm="sha512")
    await local.put_manifest(CI, "a", image, tags=["v1"])
    assert (await local.resolve(CI, "a", "v1")).digest == image.digest
    assert (await local.get_manifest(CI, "a", str(image.digest))).digest == image.digest
    assert (await local.closure(CI, "a", image.digest, rehash=True)).complete


async def test_tags_come_in_byte_order_in_pages(local: LocalRegistry) -> None:
    image = await put_image(local, "a")
    names = ["a", "Z", "_", "10", "9", "a.b", "a-b", "A"]
    await local.put_manifest(CI, "a", image, tags=names)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await local.tags(CI, "a", after=after, limit=3)
        assert len(page.items) <= 3
        seen += page.items
        after = page.next
    assert seen == sorted(names)
    assert (await local.tags(CI, "a", limit=0)).items == ()
    assert (await local.tags(CI, "a", limit=10**9)).next is None


async def test_repositories_without_content_are_not_listed(local: LocalRegistry) -> None:
    await put_blob(local, "b/c", b"x")
    await put_blob(local, "a", b"x")
    await local.start_upload(CI, "empty")
    assert (await local.repositories(CI)).items == ("a", "b/c")
    assert (await local.repositories(CI, after="a", limit=1)).items == ("b/c",)


async def test_referrers(local: LocalRegistry) -> None:
    subject = manifest_of(b"not here")
    link = descriptor(subject.content, subject.media_type)
    one = await put_image(local, "a", b"one", subject=link, artifactType="application/x", annotations={"k": "v"})
    two = await put_image(local, "a", b"two", subject=link)
    await put_image(local, "b", b"three", subject=link)
    found = (await local.referrers(CI, "a", subject.digest)).items
    assert [each.digest for each in found] == sorted([one.digest, two.digest])
    only = (await local.referrers(CI, "a", subject.digest, artifact_type="application/x")).items
    assert only == (one.referrer_descriptor,)
    await local.delete_manifest(CI, "a", one.digest)
    assert [each.digest for each in (await local.referrers(CI, "a", subject.digest)).items] == [two.digest]
    assert (await local.referrers(CI, "nowhere", subject.digest)).items == ()


@pytest.mark.attack("A-immutable-digest")
async def test_an_immutable_tag_neither_moves_nor_goes_nor_does_its_digest(opened: Open) -> None:
    registry = opened(immutable_tags=("v*",))
    first = await put_image(registry, "a", b"one", tags=["v1", "latest"])
    second = await put_image(registry, "a", b"two", tags=["latest"])
    with pytest.raises(TagImmutable):
        await registry.put_manifest(CI, "a", second, tags=["other", "v1"])
    with pytest.raises(TagImmutable):
        await registry.delete_tag(CI, "a", "v1")
    with pytest.raises(TagImmutable):
        await registry.delete_manifest(CI, "a", first.digest)
    await registry.put_manifest(CI, "a", first, tags=["v1"])  # the same again is no change
    assert (await registry.tags(CI, "a")).items == ("latest", "v1")  # "other" was refused with "v1"
    assert (await registry.resolve(CI, "a", "v1")).digest == first.digest


async def test_deleting_a_manifest_takes_its_tags(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"one", tags=["v1", "v2"])
    await put_image(local, "a", b"two", tags=["v3"])
    await local.delete_manifest(CI, "a", image.digest)
    assert (await local.tags(CI, "a")).items == ("v3",)
    with pytest.raises(ManifestUnknown):
        await local.get_manifest(CI, "a", str(image.digest))
    with pytest.raises(ManifestUnknown):
        await local.delete_manifest(CI, "a", image.digest)
    await local.put_manifest(CI, "a", image, tags=["v1"])  # and it can come back
    assert (await local.get_manifest(CI, "a", "v1")).content == image.content


async def test_the_quota_counts_each_blob_once_and_a_refusal_leaves_nothing(opened: Open) -> None:
    registry = opened(quota_bytes=100)
    await put_blob(registry, "a", b"x" * 60)
    await put_blob(registry, "b", b"x" * 60)
    with pytest.raises(InsufficientStorage):
        await put_blob(registry, "a", b"y" * 50)
    upload = await registry.start_upload(CI, "a")
    with pytest.raises(InsufficientStorage):
        await registry.append(CI, "a", upload.id, once(b"z" * 50))
    assert (await registry.upload_status(CI, "a", upload.id)).offset == 0
    await registry.delete_blob(CI, "a", Digest.of(b"x" * 60))
    await registry.delete_blob(CI, "b", Digest.of(b"x" * 60))
    await put_blob(registry, "a", b"y" * 50)


async def test_lost_bytes_are_not_reported_as_present(local: LocalRegistry) -> None:
    """A HEAD that says yes lets a client skip the upload: the manifest would point at nothing."""
    digest = await put_blob(local, "a", b"layer")
    stream = await local.open_blob(CI, "a", digest)
    assert stream.path is not None
    stream.path.unlink()
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "a", digest)
    assert not await local.mount_blob(CI, "b", digest, "a")
    await put_blob(local, "a", b"layer")
    assert (await local.stat_blob(CI, "a", digest)).size == 5


async def test_rehash_finds_a_flipped_bit(local: LocalRegistry) -> None:
    image = await put_image(local, "a", b"layer")
    path = (await local.open_blob(CI, "a", Digest.of(b"layer"))).path
    assert path is not None
    path.write_bytes(b"lAyer")
    assert (await local.closure(CI, "a", image.digest)).complete
    report = await local.closure(CI, "a", image.digest, rehash=True)
    assert not report.complete
    assert report.missing[0].startswith(str(Digest.of(b"layer")))


async def test_a_passed_deadline_stops_a_call(local: LocalRegistry) -> None:
    with pytest.raises(Unavailable):
        await local.tags(Call("ci", deadline=0.0), "a")


@pytest.mark.parametrize("name", ["a'; DROP TABLE tags; --", "a%", "..", "a//b", ""])
async def test_strange_names_are_names_or_refused(local: LocalRegistry, name: str) -> None:
    await put_image(local, "a", tags=["v1"])
    with pytest.raises(Exception, match=r".") as refused:
        await local.resolve(CI, name, "v1")
    assert refused.value.status in (400, 404)  # type: ignore[attr-defined]
    assert (await local.resolve(CI, "a", "v1")).digest


@pytest.mark.attack("A-immutable-digest")
async def test_what_an_immutable_tag_needs_stays(opened: Open) -> None:
    registry = opened(immutable_tags=("v*",))
    child = await put_image(registry, "a", b"one")
    free = await put_image(registry, "a", b"two", tags=["latest"])
    await registry.put_manifest(CI, "a", index_of(index_of(child)), tags=["v1"])
    await registry.put_manifest(CI, "a", index_of(child))
    with pytest.raises(TagImmutable):
        await registry.delete_manifest(CI, "a", index_of(child).digest)
    with pytest.raises(TagImmutable):
        await registry.delete_manifest(CI, "a", child.digest)
    with pytest.raises(TagImmutable):
        await registry.delete_blob(CI, "a", Digest.of(b"one"))
    await registry.delete_blob(CI, "a", Digest.of(b"two"))
    await registry.delete_manifest(CI, "a", free.digest)
    await put_image(registry, "b", b"one", tags=["latest"])
    await registry.delete_blob(CI, "b", Digest.of(b"one"))  # the other repository keeps its own


async def test_an_immutable_tag_needs_nothing_by_way_of_what_its_repository_lacks(opened: Open) -> None:
    """What another repository has must not be felt here."""
    registry = opened(immutable_tags=("v*",))
    elsewhere = await put_image(registry, "a", b"one")
    await registry.put_manifest(CI, "b", index_of(elsewhere), tags=["v1"])  # sparse: the image is not here
    await put_blob(registry, "b", b"one")
    await registry.delete_blob(CI, "b", Digest.of(b"one"))
    await put_image(registry, "b", b"one")
    with pytest.raises(TagImmutable):
        await registry.delete_blob(CI, "b", Digest.of(b"one"))
