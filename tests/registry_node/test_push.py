from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RequestInvalid
from oci_wire.manifest import DOCKER_MANIFEST, MAX_BYTES, OCI_INDEX, OCI_MANIFEST
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from tests.registry_node.conftest import ROBOT, asking, settings
from tests.registry_node.images import descriptor, image, push_blob, push_image

UPLOADS = "/v2/apps/api/blobs/uploads/"
CONTENT = bytes(range(256)) * 12  # 3072 bytes


def code(answer: httpx.Response) -> str:
    return str(json.loads(answer.content)["errors"][0]["code"])


async def test_a_blob_in_chunks(http: httpx.AsyncClient) -> None:
    started = await http.post(UPLOADS)
    assert started.status_code == 202
    assert started.headers["range"] == "0-0"
    location = started.headers["location"]
    for start in (0, 1024):
        sent = await http.patch(
            location, content=CONTENT[start : start + 1024], headers={"content-range": f"{start}-{start + 1023}"}
        )
        assert sent.status_code == 202
        assert sent.headers["range"] == f"0-{start + 1023}"
        location = sent.headers["location"]
    status = await http.get(location)
    assert (status.status_code, status.headers["range"]) == (204, "0-2047")
    done = await http.put(
        location,
        params={"digest": str(Digest.of(CONTENT))},
        content=CONTENT[2048:],
        headers={"content-range": "2048-3071"},
    )
    assert done.status_code == 201
    assert done.headers["location"] == f"/v2/apps/api/blobs/{Digest.of(CONTENT)}"
    assert (await http.get(done.headers["location"])).content == CONTENT


async def test_a_chunk_out_of_order_changes_nothing(http: httpx.AsyncClient) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    await http.patch(location, content=CONTENT[:100], headers={"content-range": "0-99"})
    for wrong in ("0-99", "200-299"):
        refused = await http.patch(location, content=CONTENT[:100], headers={"content-range": wrong})
        assert (refused.status_code, code(refused)) == (416, "BLOB_UPLOAD_INVALID")
        assert (await http.get(location)).headers["range"] == "0-99"


async def test_a_length_that_contradicts_the_range_is_refused(http: httpx.AsyncClient) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    refused = await http.patch(location, content=b"12345", headers={"content-range": "0-99"})
    assert (refused.status_code, code(refused)) == (400, "SIZE_INVALID")
    refused = await http.patch(location, content=b"12345", headers={"content-range": "zero-99"})
    assert (refused.status_code, code(refused)) == (400, "REQUEST_INVALID")


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
async def test_a_whole_blob_in_one_request(http: httpx.AsyncClient, content: bytes) -> None:
    digest = await push_blob(http, "apps/api", content)
    assert (await http.get(f"/v2/apps/api/blobs/{digest}")).content == content


async def test_one_request_without_a_length(http: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 500):
            yield CONTENT[start : start + 500]

    answer = await http.post(UPLOADS, params={"digest": str(Digest.of(CONTENT))}, content=pieces())
    assert answer.status_code == 201
    assert (await http.get(answer.headers["location"])).content == CONTENT


async def test_a_wrong_digest_is_refused_and_leaves_no_blob(http: httpx.AsyncClient) -> None:
    wrong = str(Digest.of(b"something else"))
    for answer in (
        await http.post(UPLOADS, params={"digest": wrong}, content=CONTENT),
        await http.put((await http.post(UPLOADS)).headers["location"], params={"digest": wrong}, content=CONTENT),
    ):
        assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert (await http.head(f"/v2/apps/api/blobs/{wrong}")).status_code == 404


async def test_a_digest_that_is_none(http: httpx.AsyncClient) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    for params in ({}, {"digest": "md5:abc"}, {"digest": "sha256:short"}):
        answer = await http.put(location, params=params, content=CONTENT)
        assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    refused = await http.post(UPLOADS, params={"digest-algorithm": "crc32"})
    assert (refused.status_code, code(refused)) == (400, "DIGEST_INVALID")


async def test_a_cancelled_session_is_gone(http: httpx.AsyncClient) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    assert (await http.delete(location)).status_code == 204
    again = await http.delete(location)
    assert (again.status_code, code(again)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_a_blob_is_mounted_from_a_repository_that_the_caller_may_read(http: httpx.AsyncClient) -> None:
    digest = await push_blob(http, "apps/base", CONTENT)
    for source in ({"from": "apps/base"}, {}):
        target = f"apps/mounted{len(source)}"
        answer = await http.post(f"/v2/{target}/blobs/uploads/", params={"mount": digest, **source})
        assert (answer.status_code, answer.headers["location"]) == (201, f"/v2/{target}/blobs/{digest}")
        assert (await http.get(answer.headers["location"])).content == CONTENT
    missing = await http.post("/v2/apps/x/blobs/uploads/", params={"mount": digest, "from": "apps/none"})
    assert missing.status_code == 202


@pytest.mark.attack("A-mount-no-read")
async def test_a_mount_never_grants_a_read(app: App, http: httpx.AsyncClient) -> None:
    """CVE-2024-39897: a source that one may not read looks like a source without that blob."""
    digest = await push_blob(http, "apps/base", CONTENT)
    async with asking(app, ROBOT) as robot:
        for source in ({"from": "apps/base"}, {"from": "apps/none"}, {}):
            answer = await robot.post("/v2/ci/api/blobs/uploads/", params={"mount": digest, **source})
            assert answer.status_code == 202
            assert "docker-upload-uuid" in answer.headers
        assert (await robot.get(f"/v2/ci/api/blobs/{digest}")).status_code == 404


async def test_tags_set_with_a_manifest_pushed_by_digest(http: httpx.AsyncClient) -> None:
    await push_blob(http, "apps/api", b"{}")
    manifest = image()
    digest = str(Digest.of(manifest, "sha512"))
    tags = [f"v{n}" for n in range(10)]
    answer = await http.put(
        f"/v2/apps/api/manifests/{digest}",
        params=[("tag", tag) for tag in tags],
        content=manifest,
        headers={"content-type": OCI_MANIFEST},
    )
    assert answer.status_code == 201
    assert answer.headers.get_list("oci-tag") == tags
    assert (await http.head("/v2/apps/api/manifests/v7")).headers["docker-content-digest"] == digest


async def test_a_subject_is_acknowledged_and_listed(http: httpx.AsyncClient) -> None:
    subject = await push_image(http, "apps/api", "1.0", CONTENT)
    named = descriptor(subject, OCI_MANIFEST)
    for kind in ("application/sbom", "application/signature"):
        manifest = image(CONTENT, subject=named, artifactType=kind, annotations={"made": "here"})
        answer = await http.put(
            f"/v2/apps/api/manifests/{Digest.of(manifest)}", content=manifest, headers={"content-type": OCI_MANIFEST}
        )
        assert answer.headers["oci-subject"] == named["digest"]
    listed = await http.get(f"/v2/apps/api/referrers/{named['digest']}")
    assert listed.headers["content-type"] == OCI_INDEX
    assert {each["artifactType"] for each in listed.json()["manifests"]} == {
        "application/sbom",
        "application/signature",
    }
    assert "oci-filters-applied" not in listed.headers
    filtered = await http.get(f"/v2/apps/api/referrers/{named['digest']}", params={"artifactType": "application/sbom"})
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert [each["annotations"] for each in filtered.json()["manifests"]] == [{"made": "here"}]
    nothing = await http.get(f"/v2/apps/api/referrers/sha256:{'0' * 64}")
    assert (nothing.status_code, nothing.json()["manifests"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"not json", OCI_MANIFEST, "MANIFEST_INVALID"),
        (
            b'{"schemaVersion": 1, "name": "a"}',
            "application/vnd.docker.distribution.manifest.v1+json",
            "MANIFEST_INVALID",
        ),
        (image(), DOCKER_MANIFEST, "MANIFEST_INVALID"),  # mediaType unlike Content-Type
        (image(manifests=[]), OCI_MANIFEST, "MANIFEST_INVALID"),  # a hybrid (CVE-2021-41190)
        (image().replace(OCI_MANIFEST.encode(), OCI_INDEX.encode()), OCI_INDEX, "MANIFEST_INVALID"),
        (image(b"a layer that was never pushed"), OCI_MANIFEST, "MANIFEST_BLOB_UNKNOWN"),
    ],
)
async def test_manifests_that_are_refused(
    http: httpx.AsyncClient, body: bytes, content_type: str, expected: str
) -> None:
    await push_blob(http, "apps/api", b"{}")
    answer = await http.put("/v2/apps/api/manifests/1.0", content=body, headers={"content-type": content_type})
    assert answer.status_code in (400, 404)
    assert code(answer) == expected
    assert (await http.head("/v2/apps/api/manifests/1.0")).status_code == 404


async def test_a_manifest_under_the_wrong_digest_is_refused(http: httpx.AsyncClient) -> None:
    await push_blob(http, "apps/api", b"{}")
    answer = await http.put(
        f"/v2/apps/api/manifests/{Digest.of(b'x')}", content=image(), headers={"content-type": OCI_MANIFEST}
    )
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


async def test_four_mebibytes_are_taken_and_not_a_byte_more(http: httpx.AsyncClient) -> None:
    await push_blob(http, "apps/api", b"{}")
    spare = MAX_BYTES - len(image(annotations={"pad": ""}))
    for extra, status in ((0, 201), (1, 413)):
        manifest = image(annotations={"pad": "x" * (spare + extra)})
        answer = await http.put("/v2/apps/api/manifests/big", content=manifest, headers={"content-type": OCI_MANIFEST})
        assert answer.status_code == status


@pytest.mark.attack("A-giant-manifest")
async def test_a_giant_manifest_without_a_length_is_cut_off_early(http: httpx.AsyncClient) -> None:
    """CVE-2017-11468: 413 after the limit, not after the gigabyte."""
    sent = 0

    async def gigabyte() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(16 * 1024):
            sent += 65536
            yield b" " * 65536

    answer = await http.put("/v2/apps/api/manifests/big", content=gigabyte(), headers={"content-type": OCI_MANIFEST})
    assert answer.status_code == 413
    assert sent < 4 * MAX_BYTES


async def test_an_upload_in_one_request_that_breaks_leaves_no_session(tmp_path: Path) -> None:
    """Nobody else knows that session: were it kept, 5,000 of them would shut its owner out for a day."""
    app = build.app_of(settings(tmp_path), registry := MemoryRegistry(), log=False)

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise RequestInvalid("a chunk must begin with its size in hex digits")

    async def body() -> AsyncIterator[bytes]:
        yield b"some"

    async with asking(app) as http:
        cut = await http.post(f"/v2/a/blobs/uploads/?digest={Digest.of(b'some')}", content=broken())
        assert (cut.status_code, code(cut)) == (400, "REQUEST_INVALID")
        wrong = await http.post(f"/v2/a/blobs/uploads/?digest={Digest.of(b'other')}", content=body())
        assert (wrong.status_code, code(wrong)) == (400, "DIGEST_INVALID")
    assert registry._state.repositories["a"].uploads == {}


async def test_deletions(http: httpx.AsyncClient) -> None:
    manifest = await push_image(http, "apps/api", "1.0", CONTENT)
    digest, layer = str(Digest.of(manifest)), str(Digest.of(CONTENT))
    assert (await http.delete("/v2/apps/api/manifests/1.0")).status_code == 202
    assert (await http.get("/v2/apps/api/manifests/1.0")).status_code == 404
    assert (await http.get(f"/v2/apps/api/manifests/{digest}")).status_code == 200
    assert (await http.delete(f"/v2/apps/api/manifests/{digest}")).status_code == 202
    assert (await http.get(f"/v2/apps/api/manifests/{digest}")).status_code == 404
    assert (await http.delete(f"/v2/apps/api/blobs/{layer}")).status_code == 202
    assert (await http.get(f"/v2/apps/api/blobs/{layer}")).status_code == 404
    again = await http.delete(f"/v2/apps/api/blobs/{layer}")
    assert (again.status_code, code(again)) == (404, "BLOB_UNKNOWN")


async def test_rules_of_naming_and_labels(tmp_path: Path) -> None:
    rules = {"repository_name": "apps/[a-z]+", "tag_name": r"\d+\.\d+", "require_labels": ["team"]}
    app = build.app_of(settings(tmp_path, rules=rules), MemoryRegistry(), log=False)
    config = json.dumps({"config": {"Labels": {"team": "payments"}}}).encode()
    async with asking(app) as http:
        refused = await http.post("/v2/other/api/blobs/uploads/")
        assert (refused.status_code, code(refused)) == (400, "NAME_INVALID")
        for content in (b"{}", config):
            await push_blob(http, "apps/api", content)
        for tag, body, status, expected in (
            ("latest", image(config=config), 400, "TAG_INVALID"),
            ("1.0", image(config=b"{}"), 403, "DENIED"),
            ("1.0", image(config=config), 201, None),
            (f"sha256-{'a' * 64}.sig", image(config=config), 201, None),
        ):
            url, kind = f"/v2/apps/api/manifests/{tag}", {"content-type": OCI_MANIFEST}
            answer = await http.put(url, content=body, headers=kind)
            assert (answer.status_code, code(answer) if expected else None) == (status, expected)
