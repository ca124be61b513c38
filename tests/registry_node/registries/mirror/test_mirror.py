"""What a mirror answers from where: cold, warm, and without its upstream."""

from __future__ import annotations

import asyncio

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown, TooManyRequests, Unreachable, Unsupported
from oci_wire.manifest import Manifest
from oci_wire.registry import ByteRange, Call
from registry_node.registries.mirror.freshness import RETRY_SECONDS
from registry_node.registries.mirror.mirror import MirrorRegistry
from tests.registry_node.pushes import CI, index_of, put_blob, put_image
from tests.registry_node.registries.conftest import Clock
from tests.registry_node.registries.mirror.conftest import MakeMirror
from tests.registry_node.registries.mirror.double import Upstream

LAYER = bytes(range(256)) * 4096  # 1 MiB


async def _pull(mirror: MirrorRegistry, repository: str, reference: str) -> Manifest:
    manifest = await mirror.get_manifest(Call(), repository, reference)
    for blob in manifest.blobs:
        assert Digest.of(await (await mirror.open_blob(Call(), repository, blob.digest)).read()) == blob.digest
    return manifest


async def _settled(mirror: MirrorRegistry) -> None:
    """Until no fill runs."""
    while mirror.fills.running:
        await asyncio.sleep(0.01)


async def test_cold_then_warm_then_without_the_upstream(mirror: MirrorRegistry, upstream: Upstream) -> None:
    image = await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])
    assert (await _pull(mirror, "apps/api", "1.0")).content == image.content
    await _settled(mirror)
    asked = upstream.asked.copy()
    assert asked["manifest"] == 1 and asked["blob"] == 2
    await _pull(mirror, "apps/api", "1.0")
    assert upstream.asked == asked
    upstream.down = Unreachable("pulled the plug")
    assert (await _pull(mirror, "apps/api", "1.0")).content == image.content
    assert (await _pull(mirror, "apps/api", str(image.digest))).content == image.content


async def test_copies_survive_a_restart(mirrored: MakeMirror, upstream: Upstream) -> None:
    first = mirrored()
    await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])
    await _pull(first, "apps/api", "1.0")
    await _settled(first)
    await first.aclose()
    first.close()
    upstream.down = Unreachable("pulled the plug")
    await _pull(mirrored(), "apps/api", "1.0")


async def test_a_tag_is_asked_again_when_it_is_no_longer_fresh(
    mirrored: MakeMirror, upstream: Upstream, clock: Clock
) -> None:
    mirror = mirrored(tag_seconds=60)
    old = await put_image(upstream.registry, "apps/api", b"old", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    new = await put_image(upstream.registry, "apps/api", b"new", tags=["latest"])
    clock.now += 59
    assert (await mirror.resolve(CI, "apps/api", "latest")).digest == old.digest
    assert not upstream.asked["resolve"]
    clock.now += 2
    assert (await mirror.resolve(CI, "apps/api", "latest")).digest == new.digest
    assert upstream.known == [old.descriptor]  # what it may confirm in fewer words
    assert upstream.asked["resolve"] == 1
    assert (await mirror.get_manifest(CI, "apps/api", str(old.digest))).digest == old.digest


async def test_a_hundred_callers_cause_one_question(mirrored: MakeMirror, upstream: Upstream, clock: Clock) -> None:
    mirror = mirrored(tag_seconds=60)
    image = await put_image(upstream.registry, "apps/api", LAYER, tags=["latest"])
    found = await asyncio.gather(*(_pull(mirror, "apps/api", "latest") for _ in range(100)))
    assert {each.digest for each in found} == {image.digest}
    await _settled(mirror)
    assert upstream.asked["manifest"] == 1 and upstream.asked["blob"] == 2
    clock.now += 61
    await asyncio.gather(*(mirror.resolve(CI, "apps/api", "latest") for _ in range(100)))
    assert upstream.asked["resolve"] == 1


async def test_stale_with_age_and_warning_when_the_upstream_refuses(
    mirrored: MakeMirror, upstream: Upstream, clock: Clock
) -> None:
    mirror = mirrored(tag_seconds=60, stale_seconds=600)
    image = await put_image(upstream.registry, "apps/api", b"layer", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    upstream.down = TooManyRequests("come back later")
    clock.now += 100
    call = Call()
    assert (await mirror.resolve(call, "apps/api", "latest")).digest == image.digest
    assert call.notes == {"age": "100", "warning": '110 mirror "Response is Stale", 111 mirror "Revalidation Failed"'}
    asked = upstream.asked["resolve"]
    await mirror.resolve(Call(), "apps/api", "latest")
    assert upstream.asked["resolve"] == asked  # a moment ago it failed
    clock.now += RETRY_SECONDS + 1
    upstream.down = None
    call = Call()
    assert (await mirror.resolve(call, "apps/api", "latest")).digest == image.digest
    assert call.notes == {}


async def test_too_old_to_be_served_is_the_upstreams_error(
    mirrored: MakeMirror, upstream: Upstream, clock: Clock
) -> None:
    mirror = mirrored(tag_seconds=60, stale_seconds=600)
    image = await put_image(upstream.registry, "apps/api", b"layer", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    upstream.down = TooManyRequests("come back later")
    clock.now += 601
    with pytest.raises(TooManyRequests):
        await mirror.resolve(CI, "apps/api", "latest")
    assert (await mirror.resolve(CI, "apps/api", str(image.digest))).digest == image.digest


async def test_an_upstream_that_hangs_keeps_nobody_waiting_twice(
    mirrored: MakeMirror, upstream: Upstream, clock: Clock
) -> None:
    mirror = mirrored(tag_seconds=60, answer_seconds=0.05)
    image = await put_image(upstream.registry, "apps/api", b"layer", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    upstream.answering.clear()
    clock.now += 100
    call = Call()
    assert (await mirror.resolve(call, "apps/api", "latest")).digest == image.digest
    assert "111" in call.notes["warning"]
    async with asyncio.timeout(0.04):  # less than the upstream is given
        assert (await mirror.resolve(Call(), "apps/api", "latest")).digest == image.digest


async def test_a_deleted_tag_is_kept_or_not_as_declared(mirrored: MakeMirror, upstream: Upstream, clock: Clock) -> None:
    mirror = mirrored(tag_seconds=60, stale_seconds=600, negative_seconds=5)
    image = await put_image(upstream.registry, "apps/api", b"layer", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    await upstream.registry.delete_tag(CI, "apps/api", "latest")
    clock.now += 100
    call = Call()
    assert (await mirror.resolve(call, "apps/api", "latest")).digest == image.digest
    assert "has deleted this tag" in call.notes["warning"]
    assert upstream.asked["resolve"] == 1
    await mirror.resolve(Call(), "apps/api", "latest")
    assert upstream.asked["resolve"] == 1  # known to be gone
    clock.now += 501
    with pytest.raises(ManifestUnknown):
        await mirror.resolve(CI, "apps/api", "latest")


async def test_a_deleted_tag_goes_where_it_is_not_kept(mirrored: MakeMirror, upstream: Upstream, clock: Clock) -> None:
    mirror = mirrored(tag_seconds=60, keep_deleted=False)
    await put_image(upstream.registry, "apps/api", b"layer", tags=["latest"])
    await mirror.resolve(CI, "apps/api", "latest")
    await upstream.registry.delete_tag(CI, "apps/api", "latest")
    clock.now += 100
    with pytest.raises(ManifestUnknown):
        await mirror.resolve(CI, "apps/api", "latest")
    upstream.down = Unreachable("pulled the plug")
    with pytest.raises(ManifestUnknown):
        await mirror.resolve(CI, "apps/api", "latest")


async def test_what_is_not_there_is_asked_once(mirror: MirrorRegistry, upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", b"layer", tags=["1.0"])
    for _ in range(3):
        with pytest.raises(ManifestUnknown):
            await mirror.resolve(CI, "apps/api", "2.0")
        with pytest.raises(BlobUnknown):
            await mirror.open_blob(CI, "apps/api", Digest.of(b"nowhere"))
        with pytest.raises(BlobUnknown):
            await mirror.stat_blob(CI, "apps/api", Digest.of(b"nowhere"))
    assert upstream.asked["manifest"] == 1 and upstream.asked["blob"] + upstream.asked["stat"] == 1


@pytest.mark.attack("A-outage-absent")
async def test_an_outage_is_no_404(mirror: MirrorRegistry, upstream: Upstream) -> None:
    upstream.down = Unreachable("pulled the plug")
    for _ in range(2):
        with pytest.raises(Unreachable):
            await mirror.resolve(CI, "apps/api", "1.0")
        with pytest.raises(Unreachable):
            await mirror.open_blob(CI, "apps/api", Digest.of(b"layer"))
    upstream.down = None
    await put_image(upstream.registry, "apps/api", b"layer", tags=["1.0"])
    await _pull(mirror, "apps/api", "1.0")


async def test_children_of_an_index_come_when_they_are_asked_for(mirror: MirrorRegistry, upstream: Upstream) -> None:
    amd, arm = [await put_image(upstream.registry, "apps/api", each) for each in (b"amd", b"arm")]
    index = index_of(amd, arm)
    await upstream.registry.put_manifest(CI, "apps/api", index, tags=["multi"])
    assert (await mirror.get_manifest(CI, "apps/api", "multi")).content == index.content
    assert upstream.asked["manifest"] == 1
    await _pull(mirror, "apps/api", str(amd.digest))
    assert upstream.asked["manifest"] == 2


@pytest.mark.attack("A-cached-elsewhere")
async def test_a_cached_blob_is_served_only_where_the_upstream_has_it(
    mirror: MirrorRegistry, upstream: Upstream
) -> None:
    await put_image(upstream.registry, "team/a", LAYER, tags=["1"])
    await put_image(upstream.registry, "team/b", b"other", tags=["1"])
    await _pull(mirror, "team/a", "1")
    await _settled(mirror)
    with pytest.raises(BlobUnknown):
        await mirror.open_blob(CI, "team/b", Digest.of(LAYER))
    await put_image(upstream.registry, "team/c", LAYER, tags=["1"])
    asked = upstream.asked["blob"]
    assert await (await mirror.open_blob(CI, "team/c", Digest.of(LAYER))).read() == LAYER
    assert upstream.asked["blob"] == asked  # a HEAD was enough


async def test_names_are_one_where_the_upstream_says_so(mirror: MirrorRegistry, upstream: Upstream) -> None:
    await put_image(upstream.registry, "library/nginx", b"layer", tags=["1"])
    await put_image(upstream.registry, "nginx", b"layer", tags=["1"])
    await _pull(mirror, "library/nginx", "1")
    asked = upstream.asked.copy()
    await _pull(mirror, "nginx", "1")
    assert upstream.asked == asked
    with pytest.raises(NameUnknown):
        await mirror.resolve(CI, "denied/nginx", "1")


async def test_nobody_pushes_to_a_mirror(mirror: MirrorRegistry) -> None:
    with pytest.raises(Unsupported, match=r"hub \(https://hub\.example\) has\. Push there"):
        await put_blob(mirror, "apps/api", b"layer")
    with pytest.raises(Unsupported):
        await mirror.mount_blob(CI, "apps/api", Digest.of(b"layer"), None)


async def test_people_remove_copies(mirror: MirrorRegistry, upstream: Upstream) -> None:
    image = await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])
    await _pull(mirror, "apps/api", "1.0")
    await _settled(mirror)
    await mirror.delete_tag(CI, "apps/api", "1.0")
    await mirror.delete_manifest(CI, "apps/api", image.digest)
    await mirror.delete_blob(CI, "apps/api", Digest.of(LAYER))
    upstream.asked.clear()
    await _pull(mirror, "apps/api", "1.0")
    assert upstream.asked["manifest"] == 1 and upstream.asked["blob"] == 1


async def test_ranges_while_cold_and_warm(mirror: MirrorRegistry, upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])
    for _ in range(2):
        stream = await mirror.open_blob(CI, "apps/api", Digest.of(LAYER), ByteRange(1000, 600_000))
        assert (stream.start, stream.stop, stream.descriptor.size) == (1000, 600_000, len(LAYER))
        assert await stream.read() == LAYER[1000:600_000]
        await _settled(mirror)
    assert upstream.asked["blob"] == 1


async def test_lists_pass_through_and_go_stale(mirror: MirrorRegistry, upstream: Upstream, clock: Clock) -> None:
    image = await put_image(upstream.registry, "apps/api", b"layer", tags=["1", "2"])
    subject = {"subject": {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size}}
    signature = await put_image(upstream.registry, "apps/api", b"signature", **subject)
    assert (await mirror.tags(CI, "apps/api")).items == ("1", "2")
    assert [each.digest for each in (await mirror.referrers(CI, "apps/api", image.digest)).items] == [signature.digest]
    await mirror.get_manifest(CI, "apps/api", "2")
    assert (await mirror.repositories(CI)).items == ("apps/api",)
    upstream.down, clock.now = Unreachable("pulled the plug"), clock.now + 4000
    call = Call()
    assert (await mirror.tags(call, "apps/api")).items == ("2",)
    assert "111" in call.notes["warning"]
    call = Call()
    assert [each.digest for each in (await mirror.referrers(call, "apps/api", image.digest)).items] == [
        signature.digest
    ]
    assert call.notes["age"] == "4000"
