"""OCI image layout folders, ours and skopeo's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from oci_wire.closure import report
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    SizeInvalid,
    Unsupported,
)
from oci_wire.layout import REF_NAME, LayoutFolder
from oci_wire.manifest import OCI_MANIFEST, Manifest
from oci_wire.registry import ByteRange, Call, Registry, once
from tests.tools import require

CALL = Call()


@pytest.fixture
def layout(tmp_path: Path) -> LayoutFolder:
    return LayoutFolder(tmp_path / "layout", create=True)


async def put(layout: LayoutFolder, content: bytes) -> Descriptor:
    blob = Descriptor(OCTET_STREAM, Digest.of(content), len(content))
    return await layout.put_blob(CALL, "any", blob, once(content))


async def image(layout: LayoutFolder, *tags: str, subject: Manifest | None = None) -> Manifest:
    config, layer = await put(layout, b"{}"), await put(layout, b"a layer")
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": [layer.to_json()]}
    if subject:
        body["subject"] = subject.descriptor.to_json()
    manifest = Manifest.parse(json.dumps(body).encode())
    await layout.put_manifest(CALL, "any", manifest, tags=tags)
    return manifest


def test_it_is_a_registry(layout: LayoutFolder) -> None:
    assert isinstance(layout, Registry)


def test_a_folder_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestInvalid, match="oci-layout"):
        LayoutFolder(tmp_path)


async def test_what_was_put_is_found_by_tag_and_by_digest(layout: LayoutFolder) -> None:
    made = await image(layout, "1.0", "latest")
    for reference in ("1.0", "latest", str(made.digest)):
        assert (await layout.get_manifest(CALL, "any", reference)).content == made.content
    assert (await layout.tags(CALL, "any")).items == ("1.0", "latest")
    assert (await report(layout, CALL, "any", made.digest, rehash=True)).complete


async def test_a_tag_moves_and_goes(layout: LayoutFolder) -> None:
    first, second = await image(layout, "1.0"), await image(layout, subject=await image(layout, "base"))
    await layout.put_manifest(CALL, "any", second, tags=["1.0"])
    assert (await layout.resolve(CALL, "any", "1.0")).digest == second.digest != first.digest
    await layout.delete_tag(CALL, "any", "1.0")
    with pytest.raises(ManifestUnknown, match="base"):
        await layout.resolve(CALL, "any", "1.0")
    assert (await layout.resolve(CALL, "any", str(second.digest))).digest == second.digest


async def test_the_only_image_needs_no_tag(layout: LayoutFolder) -> None:
    made = await image(layout, "1.0")
    assert (await layout.resolve(CALL, "any", "")).digest == made.digest


async def test_referrers_are_listed(layout: LayoutFolder) -> None:
    subject = await image(layout, "1.0")
    referrer = await image(layout, subject=subject)
    assert [each.digest for each in (await layout.referrers(CALL, "any", subject.digest)).items] == [referrer.digest]


async def test_a_manifest_comes_after_what_it_needs(layout: LayoutFolder, tmp_path: Path) -> None:
    made = await image(layout, "1.0")
    other = LayoutFolder(tmp_path / "other", create=True)
    with pytest.raises(ManifestBlobUnknown):
        await other.put_manifest(CALL, "any", made, tags=["1.0"])
    assert other.entries() == []


async def test_wrong_bytes_are_not_kept(layout: LayoutFolder) -> None:
    blob = Descriptor(OCTET_STREAM, Digest.of(b"right"), 5)
    with pytest.raises(DigestInvalid):
        await layout.put_blob(CALL, "any", blob, once(b"wrong"))
    with pytest.raises(SizeInvalid):
        await layout.put_blob(CALL, "any", blob, once(b"longer than that"))
    with pytest.raises(BlobUnknown):
        await layout.stat_blob(CALL, "any", blob.digest)
    assert [each for each in layout.root.rglob("*") if each.name.startswith(".")] == []


async def test_a_damaged_manifest_is_not_served(layout: LayoutFolder) -> None:
    made = await image(layout, "1.0")
    (layout.root / "blobs" / "sha256" / made.digest.hex).write_bytes(made.content + b" ")
    with pytest.raises(DigestInvalid):
        await layout.get_manifest(CALL, "any", "1.0")


async def test_parts_of_a_blob(layout: LayoutFolder) -> None:
    blob = await put(layout, b"0123456789")
    for span, expected in ((ByteRange(2, 5), b"234"), (ByteRange(8), b"89"), (ByteRange(-3), b"789")):
        assert await (await layout.open_blob(CALL, "any", blob.digest, span)).read() == expected


async def test_what_a_layout_cannot_is_said(layout: LayoutFolder) -> None:
    with pytest.raises(Unsupported):
        await layout.start_upload(CALL, "any")
    with pytest.raises(Unsupported):
        await layout.repositories(CALL)
    assert await layout.features(CALL) is None


async def test_an_unreadable_index(layout: LayoutFolder) -> None:
    (layout.root / "index.json").write_text("[]")
    with pytest.raises(ManifestInvalid, match=r"index\.json"):
        layout.entries()


@pytest.mark.clients
async def test_skopeo_reads_what_we_write_and_we_read_what_skopeo_writes(layout: LayoutFolder, tmp_path: Path) -> None:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
    described = await put(layout, json.dumps(config).encode())
    kind = "application/vnd.oci.image.config.v1+json"
    config_json = {"mediaType": kind, "digest": str(described.digest), "size": described.size}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_json, "layers": []}
    manifest = Manifest.parse(json.dumps(body).encode())
    await layout.put_manifest(CALL, "any", manifest, tags=["1.0"])
    command = [require("skopeo"), "copy", f"oci:{layout.root}:1.0", f"oci:{tmp_path / 'theirs'}:2.0"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = LayoutFolder(tmp_path / "theirs")
    assert (await theirs.resolve(CALL, "any", "2.0")).digest == manifest.digest
    assert theirs.entries()[0].annotations[REF_NAME] == "2.0"
