"""Lister and Deleter."""

from __future__ import annotations

from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown, Unsupported
from oci_wire.registry import Registry
from tests.contract.content import CALL, image, index, push, push_blob
from tests.contract.implementations import CATALOG, REFERRERS_API, TAG_DELETE, UNTAGGED, Implementation

TAGS = ["1.10", "1.9", "a", "b", "latest", "Z", "_x", "0", "v1-rc.1"]


async def _all_tags(registry: Registry, repository: str, limit: int | None) -> list[str]:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await registry.tags(CALL, repository, after=after, limit=limit)
        assert limit is None or len(page.items) <= limit
        found += page.items
        after = page.next
    return found


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 100])
async def test_tags_in_byte_order_in_pages_of_any_size(registry: Registry, repository: str, limit: int | None) -> None:
    await push(registry, repository, b"layer", tags=TAGS)
    assert await _all_tags(registry, repository, limit) == sorted(TAGS)


async def test_tags_after_a_name_that_is_no_tag(registry: Registry, repository: str) -> None:
    await push(registry, repository, b"layer", tags=["a", "c", "e"])
    assert (await registry.tags(CALL, repository, after="b")).items == ("c", "e")
    assert (await registry.tags(CALL, repository, after="e")).items == ()


async def test_a_page_of_nothing(registry: Registry, repository: str) -> None:
    await push(registry, repository, b"layer", tags=["a"])
    assert (await registry.tags(CALL, repository, limit=0)).items == ()


async def test_the_tags_of_no_repository(registry: Registry, repository: str) -> None:
    with pytest.raises(NameUnknown):
        await registry.tags(CALL, repository)


@pytest.mark.needs(UNTAGGED)
async def test_an_untagged_repository_lists_no_tags(registry: Registry, repository: str) -> None:
    await push(registry, repository, b"layer")
    assert (await registry.tags(CALL, repository)).items == ()


@pytest.mark.needs(CATALOG)
@pytest.mark.parametrize("limit", [None, 1])
async def test_repositories_in_order(registry: Registry, repository: str, limit: int | None) -> None:
    names = [f"{repository}/{each}" for each in ("b", "a", "c")]
    for name in names:
        await push(registry, name, b"layer", tags=["v1"])
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await registry.repositories(CALL, after=after, limit=limit)
        found += page.items
        after = page.next
    assert found == sorted(found)
    assert [each for each in found if each.startswith(f"{repository}/")] == sorted(names)


async def test_referrers_with_type_and_annotations(
    registry: Registry, implementation: Implementation, repository: str
) -> None:
    subject = await push(registry, repository, b"image", tags=["v1"])
    assert (await registry.referrers(CALL, repository, subject.digest)).items == ()
    fields: dict[str, Any] = {"subject": subject.descriptor.to_json(), "annotations": {"when": "now"}}
    sbom = await push(registry, repository, b"sbom", artifactType="application/spdx+json", **fields)
    sign = await push(registry, repository, b"signature", artifactType="application/signature", **fields)
    found = {each.digest: each for each in (await registry.referrers(CALL, repository, subject.digest)).items}
    assert set(found) == {sbom.digest, sign.digest}
    assert found[sbom.digest] == sbom.referrer_descriptor
    assert (found[sign.digest].artifact_type, dict(found[sign.digest].annotations)) == (
        "application/signature",
        {"when": "now"},
    )
    only = await registry.referrers(CALL, repository, subject.digest, artifact_type="application/spdx+json")
    assert [each.digest for each in only.items] == [sbom.digest]
    fallback = subject.digest.fallback_tag in (await registry.tags(CALL, repository)).items
    assert fallback == (REFERRERS_API not in implementation.capabilities)


async def test_a_referrer_without_a_type_has_its_configs(registry: Registry, repository: str) -> None:
    subject = await push(registry, repository, b"image")
    referrer = await push(registry, repository, b"x", subject=subject.descriptor.to_json())
    (found,) = (await registry.referrers(CALL, repository, subject.digest)).items
    assert found.artifact_type == referrer.config.media_type  # type: ignore[union-attr]  # an image has a config


async def test_referrers_of_nothing(registry: Registry, repository: str) -> None:
    nobody = Digest.of(b"nobody knows this digest")
    assert (await registry.referrers(CALL, repository, nobody)).items == ()
    await push(registry, repository, b"image")
    assert (await registry.referrers(CALL, repository, nobody)).items == ()


@pytest.mark.needs(REFERRERS_API)
async def test_a_referrer_may_come_before_its_subject(registry: Registry, repository: str) -> None:
    subject = image(b"comes later")
    referrer = await push(registry, repository, b"early", subject=subject.descriptor.to_json())
    (found,) = (await registry.referrers(CALL, repository, subject.digest)).items
    assert found.digest == referrer.digest


async def test_an_index_can_refer_too(registry: Registry, repository: str) -> None:
    subject = await push(registry, repository, b"image")
    bundle = index(subject.descriptor, subject=subject.descriptor.to_json(), artifactType="application/bundle")
    await registry.put_manifest(CALL, repository, bundle)
    (found,) = (await registry.referrers(CALL, repository, subject.digest)).items
    assert (found.digest, found.artifact_type) == (bundle.digest, "application/bundle")


async def test_a_deleted_referrer_is_no_longer_listed(registry: Registry, repository: str) -> None:
    subject = await push(registry, repository, b"image")
    keeps = await push(registry, repository, b"keeps", subject=subject.descriptor.to_json())
    goes = await push(registry, repository, b"goes", subject=subject.descriptor.to_json())
    await registry.delete_manifest(CALL, repository, goes.digest)
    assert [each.digest for each in (await registry.referrers(CALL, repository, subject.digest)).items] == [
        keeps.digest
    ]


@pytest.mark.needs(TAG_DELETE)
async def test_a_deleted_tag_leaves_its_digest(registry: Registry, repository: str) -> None:
    pushed = await push(registry, repository, b"layer", tags=["goes", "stays"])
    await registry.delete_tag(CALL, repository, "goes")
    with pytest.raises(ManifestUnknown):
        await registry.resolve(CALL, repository, "goes")
    assert (await registry.tags(CALL, repository)).items == ("stays",)
    assert (await registry.resolve(CALL, repository, str(pushed.digest))).digest == pushed.digest
    with pytest.raises(ManifestUnknown):
        await registry.delete_tag(CALL, repository, "goes")


async def test_a_registry_that_cannot_delete_tags_says_so(
    registry: Registry, implementation: Implementation, repository: str
) -> None:
    if TAG_DELETE in implementation.capabilities:
        pytest.skip("it can")
    await push(registry, repository, b"layer", tags=["v1"])
    with pytest.raises(Unsupported):
        await registry.delete_tag(CALL, repository, "v1")


async def test_a_deleted_manifest_takes_its_tags_along(registry: Registry, repository: str) -> None:
    goes = await push(registry, repository, b"goes", tags=["a", "b"])
    stays = await push(registry, repository, b"stays", tags=["c"])
    await registry.delete_manifest(CALL, repository, goes.digest)
    for reference in ("a", "b", str(goes.digest)):
        with pytest.raises(ManifestUnknown):
            await registry.get_manifest(CALL, repository, reference)
    assert (await registry.tags(CALL, repository)).items == ("c",)
    assert (await registry.resolve(CALL, repository, "c")).digest == stays.digest


async def test_deleting_what_is_not_there(registry: Registry, repository: str) -> None:
    await push(registry, repository, b"layer")
    with pytest.raises(ManifestUnknown):
        await registry.delete_manifest(CALL, repository, Digest.of(b"none"))
    with pytest.raises(BlobUnknown):
        await registry.delete_blob(CALL, repository, Digest.of(b"none"))


async def test_a_deleted_blob_is_gone_here_and_not_elsewhere(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, b"shared")
    await push_blob(registry, f"{repository}/other", b"shared")
    await registry.delete_blob(CALL, repository, pushed.digest)
    with pytest.raises(BlobUnknown):
        await registry.stat_blob(CALL, repository, pushed.digest)
    assert (await registry.stat_blob(CALL, f"{repository}/other", pushed.digest)).size == 6
