"""Reader: what is there comes back byte for byte; what is not is an error that says which."""

from __future__ import annotations

from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RangeInvalid,
    TagInvalid,
    Unavailable,
)
from oci_wire.manifest import OCI_MANIFEST
from oci_wire.registry import ByteRange, Call, Registry
from tests.contract.content import CALL, image, push, push_blob
from tests.contract.implementations import SHA512

LAYER = bytes(range(256)) * 40
ABSENT = Digest.of(b"never pushed")


async def test_it_is_a_registry(registry: Any) -> None:
    assert isinstance(registry, Registry)


async def test_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(registry: Registry, repository: str) -> None:
    pushed = await push(registry, repository, LAYER, tags=["v1"])
    for reference in ("v1", str(pushed.digest)):
        found = await registry.get_manifest(CALL, repository, reference)
        assert found.content == pushed.content
        assert (found.media_type, found.digest) == (OCI_MANIFEST, pushed.digest)
        assert await registry.resolve(CALL, repository, reference) == pushed.descriptor


async def test_an_unknown_tag_or_digest_is_manifest_unknown(registry: Registry, repository: str) -> None:
    await push(registry, repository, LAYER, tags=["v1"])
    for reference in ("v2", str(ABSENT)):
        with pytest.raises(ManifestUnknown):
            await registry.get_manifest(CALL, repository, reference)
        with pytest.raises(ManifestUnknown):
            await registry.resolve(CALL, repository, reference)


async def test_nothing_is_in_a_repository_that_never_was(registry: Registry, repository: str) -> None:
    for reference in ("v1", str(ABSENT)):
        with pytest.raises((NameUnknown, ManifestUnknown)):
            await registry.get_manifest(CALL, repository, reference)
        with pytest.raises((NameUnknown, ManifestUnknown)):
            await registry.resolve(CALL, repository, reference)
    with pytest.raises((NameUnknown, BlobUnknown)):
        await registry.stat_blob(CALL, repository, ABSENT)
    with pytest.raises((NameUnknown, BlobUnknown)):
        await registry.open_blob(CALL, repository, ABSENT)


@pytest.mark.parametrize("name", ["", "UPPER/case", "a//b", "../etc", "a/..", "a" * 300, "a b", "a%2fb", "-a", "a___b"])
async def test_a_bad_name_is_name_invalid(registry: Registry, name: str) -> None:
    with pytest.raises(NameInvalid):
        await registry.get_manifest(CALL, name, "v1")


@pytest.mark.parametrize("tag", ["", ".dot", "-dash", "a/b", "x" * 129, "tag with space", "ümlaut"])
async def test_a_bad_tag_is_tag_invalid(registry: Registry, repository: str, tag: str) -> None:
    await push_blob(registry, repository, b"{}")
    with pytest.raises(TagInvalid):
        await registry.get_manifest(CALL, repository, tag)


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + "A" * 64, ":"])
async def test_a_bad_digest_is_digest_invalid(registry: Registry, repository: str, digest: str) -> None:
    await push_blob(registry, repository, b"{}")
    with pytest.raises(DigestInvalid):
        await registry.resolve(CALL, repository, digest)


async def test_a_blob_comes_back_whole(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, LAYER)
    assert (await registry.stat_blob(CALL, repository, pushed.digest)).size == len(LAYER)
    async with await registry.open_blob(CALL, repository, pushed.digest) as stream:
        assert (stream.start, stream.stop, stream.length) == (0, len(LAYER), len(LAYER))
        assert stream.descriptor.size == len(LAYER)
        assert await stream.read() == LAYER


async def test_an_empty_blob_is_a_blob(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, b"")
    assert (await registry.stat_blob(CALL, repository, pushed.digest)).size == 0
    assert await (await registry.open_blob(CALL, repository, pushed.digest)).read() == b""


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (ByteRange(0, 10), LAYER[:10]),
        (ByteRange(100, 5000), LAYER[100:5000]),
        (ByteRange(5000), LAYER[5000:]),
        (ByteRange(-7), LAYER[-7:]),
        (ByteRange(-(10**6)), LAYER),
        (ByteRange(10, 10**6), LAYER[10:]),
        (ByteRange(len(LAYER) - 1), LAYER[-1:]),
    ],
    ids=str,
)
async def test_a_part_of_a_blob(registry: Registry, repository: str, span: ByteRange, expected: bytes) -> None:
    pushed = await push_blob(registry, repository, LAYER)
    async with await registry.open_blob(CALL, repository, pushed.digest, span) as stream:
        assert stream.length == len(expected)
        assert stream.descriptor.size == len(LAYER)
        assert await stream.read() == expected


@pytest.mark.parametrize("span", [ByteRange(len(LAYER)), ByteRange(10**6, 10**6 + 1), ByteRange(5, 5), ByteRange(9, 3)])
async def test_a_range_outside_of_the_blob_is_invalid(registry: Registry, repository: str, span: ByteRange) -> None:
    pushed = await push_blob(registry, repository, LAYER)
    with pytest.raises(RangeInvalid):
        await registry.open_blob(CALL, repository, pushed.digest, span)


async def test_a_blob_stream_may_be_left_unread(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, LAYER)
    for _ in range(50):  # more than any connection pool has
        await (await registry.open_blob(CALL, repository, pushed.digest)).aclose()


async def test_a_blob_of_another_repository_is_unknown_here(registry: Registry, repository: str) -> None:
    content = repository.encode()  # nobody else has it
    pushed = await push_blob(registry, f"{repository}/other", content)
    await push_blob(registry, repository, b"{}")
    with pytest.raises(BlobUnknown):
        await registry.stat_blob(CALL, repository, pushed.digest)
    with pytest.raises(BlobUnknown):
        await registry.open_blob(CALL, repository, pushed.digest)


async def test_a_manifest_of_another_repository_is_unknown_here(registry: Registry, repository: str) -> None:
    pushed = await push(registry, f"{repository}/other", repository.encode(), tags=["v1"])
    await push(registry, repository, tags=["v1"])
    with pytest.raises(ManifestUnknown):
        await registry.get_manifest(CALL, repository, str(pushed.digest))


async def test_a_manifest_is_no_blob(registry: Registry, repository: str) -> None:
    pushed = await push(registry, repository, LAYER)
    with pytest.raises(BlobUnknown):
        await registry.stat_blob(CALL, repository, image(LAYER, config=b"{ }").digest)
    assert pushed.digest


@pytest.mark.needs(SHA512)
async def test_sha512_from_end_to_end(registry: Registry, repository: str) -> None:
    pushed = await push_blob(registry, repository, LAYER, "sha512")
    assert await (await registry.open_blob(CALL, repository, pushed.digest)).read() == LAYER


async def test_a_deadline_that_has_passed_is_unavailable(registry: Registry, repository: str) -> None:
    late = Call("tests", deadline=0.0)
    with pytest.raises(Unavailable):
        await registry.resolve(late, repository, "v1")
