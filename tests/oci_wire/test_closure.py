"""The walker: everything once, in an order that is safe to write, however deep, however broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from oci_wire.closure import AT_ONCE, Kind, Limits, Link, walk
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import ManifestInvalid, Unavailable
from oci_wire.manifest import OCI_MANIFEST, Manifest
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call
from tests.contract.content import CALL, described, image, index, push, push_blob

T = TypeVar("T")
REPOSITORY = "apps/api"


async def _walk(registry: MemoryRegistry, root: Manifest, **options: object) -> list[Link]:
    return [link async for link in walk(registry, CALL, REPOSITORY, root.digest, **options)]  # type: ignore[arg-type]


async def _put(registry: MemoryRegistry, manifest: Manifest, *tags: str) -> Manifest:
    await registry.put_manifest(CALL, REPOSITORY, manifest, tags=tags)
    return manifest


def _kinds(links: Sequence[Link]) -> list[tuple[Kind, Digest]]:
    return [(link.kind, link.descriptor.digest) for link in links]


def _safe_to_write(links: Sequence[Link]) -> bool:
    """Whether each manifest comes after all that it needs, and after its subject."""
    seen: set[Digest] = set()
    everything = {link.descriptor.digest for link in links}
    for link in links:
        if link.manifest is not None:
            needs = {each.digest for each in (*link.manifest.blobs, *link.manifest.children)}
            if link.manifest.subject is not None and link.kind is not Kind.ROOT:
                needs.add(link.manifest.subject.digest)
            if (needs & everything) - seen:
                return False
        seen.add(link.descriptor.digest)
    return True


async def test_an_image_of_two_platforms_with_its_evidence() -> None:
    registry = MemoryRegistry()
    amd, arm = [await push(registry, REPOSITORY, b"base", layer) for layer in (b"amd64", b"arm64")]
    root = await _put(registry, index(amd.descriptor, arm.descriptor), "v1")
    sbom = await push(registry, REPOSITORY, b"sbom", subject=amd.descriptor.to_json())
    of_sbom = await push(registry, REPOSITORY, b"signature of the sbom", subject=sbom.descriptor.to_json())
    cosign = await push(registry, REPOSITORY, b"cosign", tags=[f"sha256-{root.digest.hex}.sig"])
    listed = await push(registry, REPOSITORY, b"listed in the fallback index only")
    fallback = await _put(registry, index(listed.descriptor), root.digest.fallback_tag)
    await push(registry, REPOSITORY, b"something else", tags=["other"])

    links = await _walk(registry, root)
    assert _safe_to_write(links)
    assert not any(link.problem for link in links)
    by_kind = {kind: {link.descriptor.digest for link in links if link.kind is kind} for kind in Kind}
    assert by_kind[Kind.ROOT] == {root.digest}
    assert by_kind[Kind.CHILD] == {amd.digest, arm.digest, listed.digest}
    assert by_kind[Kind.REFERRER] == {sbom.digest, of_sbom.digest}
    assert by_kind[Kind.COSIGN] == {cosign.digest}
    assert by_kind[Kind.FALLBACK] == {fallback.digest}
    layers = (b"{}", b"base", b"amd64", b"arm64", b"sbom", b"signature of the sbom", b"cosign")
    assert by_kind[Kind.BLOB] == {Digest.of(each) for each in (*layers, b"listed in the fallback index only")}
    assert len(links) == len({link.descriptor.digest for link in links})
    assert next(link.tag for link in links if link.kind is Kind.COSIGN) == f"sha256-{root.digest.hex}.sig"
    assert {link.parent for link in links if link.kind is Kind.COSIGN} == {root.digest}


async def test_without_evidence_only_what_is_needed() -> None:
    registry = MemoryRegistry()
    child = await push(registry, REPOSITORY, b"layer")
    root = await _put(registry, index(child.descriptor))
    await push(registry, REPOSITORY, b"sbom", subject=root.descriptor.to_json())
    assert _kinds(await _walk(registry, root, evidence=False)) == [
        (Kind.BLOB, Digest.of(b"{}")),
        (Kind.BLOB, Digest.of(b"layer")),
        (Kind.CHILD, child.digest),
        (Kind.ROOT, root.digest),
    ]


async def test_holes_are_problems_not_crashes() -> None:
    registry = MemoryRegistry()
    here = await push(registry, REPOSITORY, b"here")
    absent = image(b"elsewhere")
    root = await _put(registry, index(here.descriptor, absent.descriptor))
    await registry.delete_blob(CALL, REPOSITORY, Digest.of(b"here"))
    links = await _walk(registry, root, stat_blobs=True)
    assert {(link.descriptor.digest, link.problem) for link in links if link.problem} == {
        (absent.digest, "missing"),
        (Digest.of(b"here"), "missing"),
    }
    assert {link.problem for link in await _walk(registry, absent)} == {"missing"}


async def test_a_size_that_the_parent_has_wrong_is_a_problem() -> None:
    registry = MemoryRegistry()
    child = await push(registry, REPOSITORY, b"layer")
    wrong = Descriptor(OCI_MANIFEST, child.digest, child.size + 1)
    links = await _walk(registry, await _put(registry, index(wrong)), stat_blobs=True)
    assert [link.problem for link in links if link.problem] == [
        f"its parent says {child.size + 1} bytes, it has {child.size}"
    ]


async def test_a_child_that_is_no_manifest_is_a_blob() -> None:
    """As buildkit writes its caches."""
    registry = MemoryRegistry()
    await push_blob(registry, REPOSITORY, b"cache")
    root = await _put(registry, index(described(b"cache", "application/vnd.buildkit.cacheconfig.v0")))
    assert _kinds(await _walk(registry, root, stat_blobs=True)) == [
        (Kind.BLOB, Digest.of(b"cache")),
        (Kind.ROOT, root.digest),
    ]


@pytest.mark.attack("A-deep-index")
async def test_a_lattice_of_indexes_costs_what_its_manifests_cost() -> None:
    """Thirty layers of two indexes that each hold both below: 2**30 ways, 61 manifests."""
    registry, asked = MemoryRegistry(), []
    plain = registry.get_manifest

    async def counting(call: Call, repository: str, reference: str) -> Manifest:
        asked.append(reference)
        return await plain(call, repository, reference)

    registry.get_manifest = counting  # type: ignore[method-assign]  # to count
    below = [await push(registry, REPOSITORY, layer) for layer in (b"a", b"b")]
    for depth in range(29):
        both = [each.descriptor for each in below]
        below = [
            await _put(registry, index(*both, annotations={"depth": str(depth), "side": side})) for side in ("l", "r")
        ]
    root = await _put(registry, index(*(each.descriptor for each in below)))
    links = await _walk(registry, root, evidence=False)
    assert _safe_to_write(links)
    assert len([link for link in links if link.kind is not Kind.BLOB]) == len(asked) == 61


async def test_a_walk_has_limits() -> None:
    registry = MemoryRegistry()
    below = await push(registry, REPOSITORY, b"layer")
    for _ in range(10):
        below = await _put(registry, index(below.descriptor))
    assert len(await _walk(registry, below)) == 13
    with pytest.raises(ManifestInvalid, match="deeper than 9"):
        await _walk(registry, below, limits=Limits(depth=9))
    with pytest.raises(ManifestInvalid, match="past 12 links"):
        await _walk(registry, below, limits=Limits(links=12))


async def test_referrers_in_many_pages() -> None:
    registry = MemoryRegistry(page_size=3)
    root = await push(registry, REPOSITORY, b"image")
    pushed = {
        (await push(registry, REPOSITORY, bytes([number]), subject=root.descriptor.to_json())).digest
        for number in range(10)
    }
    links = await _walk(registry, root)
    assert {link.descriptor.digest for link in links if link.kind is Kind.REFERRER} == pushed


async def test_trouble_is_raised_not_taken_for_absence() -> None:
    registry = MemoryRegistry()
    root = await push(registry, REPOSITORY, b"image")

    async def down(*_: object, **__: object) -> Descriptor:
        raise Unavailable("back in a minute")

    registry.resolve = down  # type: ignore[method-assign]  # a fault
    with pytest.raises(Unavailable):
        await _walk(registry, root)


async def test_what_can_be_asked_together_is() -> None:
    """Over a far link an image costs round trips by its depth, not by its layers and platforms."""
    registry, under_way, most = MemoryRegistry(), 0, 0

    def watched(plain: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def watching(*given: object) -> T:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return await plain(*given)

        return watching

    children = [await push(registry, REPOSITORY, *(bytes([number, each]) for each in range(20))) for number in range(3)]
    root = await _put(registry, index(*(each.descriptor for each in children)))
    registry.stat_blob = watched(registry.stat_blob)  # type: ignore[method-assign,assignment]  # to count
    await _walk(registry, root, stat_blobs=True)
    assert (most, under_way) == (AT_ONCE, 0)
    most = 0
    registry.get_manifest = watched(registry.get_manifest)  # type: ignore[method-assign,assignment]  # to count
    await _walk(registry, root)
    assert most == 3
