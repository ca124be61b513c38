from __future__ import annotations

import json

import httpx
import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from tests.registry_node.images import push_blob, push_image

LAYER = bytes(range(256)) * 16  # 4096 bytes


async def test_a_manifest_comes_back_byte_for_byte_by_tag_and_by_digest(http: httpx.AsyncClient) -> None:
    pushed = await push_image(http, "apps/api", "1.0", LAYER)
    digest = str(Digest.of(pushed))
    for reference in ("1.0", digest, digest.replace(":", "%3A")):
        answer = await http.get(f"/v2/apps/api/manifests/{reference}")
        assert answer.status_code == 200
        assert answer.content == pushed
        assert answer.headers["content-type"] == OCI_MANIFEST
        assert answer.headers["docker-content-digest"] == digest
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


async def test_head_says_what_get_would(http: httpx.AsyncClient) -> None:
    pushed = await push_image(http, "apps/api", "1.0", LAYER)
    layer = str(Digest.of(LAYER))
    for path, size in (("/v2/apps/api/manifests/1.0", len(pushed)), (f"/v2/apps/api/blobs/{layer}", len(LAYER))):
        get, head = await http.get(path), await http.head(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(size)
        for name in ("content-type", "docker-content-digest", "etag"):
            assert head.headers[name] == get.headers[name]


async def test_what_has_not_changed_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await push_image(http, "apps/api", "1.0", LAYER)
    etag = f'"{Digest.of(first)}"'
    for method in ("GET", "HEAD"):
        same = await http.request(method, "/v2/apps/api/manifests/1.0", headers={"if-none-match": f'"x", W/{etag}'})
        assert (same.status_code, same.content) == (304, b"")
    await push_image(http, "apps/api", "1.0", b"another layer")
    moved = await http.get("/v2/apps/api/manifests/1.0", headers={"if-none-match": etag})
    assert moved.status_code == 200
    assert moved.content != first


async def test_not_modified_is_no_way_around_access(app, http: httpx.AsyncClient) -> None:  # type: ignore[no-untyped-def]
    from tests.registry_node.conftest import READER, asking

    digest = await push_blob(http, "secret/api", LAYER)
    async with asking(app, READER) as reader:
        answer = await reader.get(f"/v2/secret/api/blobs/{digest}", headers={"if-none-match": f'"{digest}"'})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 4096),
        ("bytes=-500", 3596, 4096),
        ("bytes=-99999", 0, 4096),
        ("bytes=2000-9000", 2000, 4096),
        ("bytes=0-0", 0, 1),
    ],
)
async def test_a_range_of_a_blob(http: httpx.AsyncClient, asked: str, start: int, stop: int) -> None:
    digest = await push_blob(http, "apps/api", LAYER)
    answer = await http.get(f"/v2/apps/api/blobs/{digest}", headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == LAYER[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/4096"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=500-0", "bytes=4096-", "bytes=5000-10000", "bytes=-0"])
async def test_a_range_that_does_not_exist_is_416(http: httpx.AsyncClient, asked: str) -> None:
    digest = await push_blob(http, "apps/api", LAYER)
    answer = await http.get(f"/v2/apps/api/blobs/{digest}", headers={"range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */4096"


@pytest.mark.parametrize(
    "asked", ["bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), "lines=1-2", "bytes=a-b", "bytes=1"]
)
async def test_ranges_that_are_not_served_mean_all_of_it(http: httpx.AsyncClient, asked: str) -> None:
    """Many small ranges cost no more than one read (CVE class: range floods)."""
    digest = await push_blob(http, "apps/api", LAYER)
    answer = await http.get(f"/v2/apps/api/blobs/{digest}", headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, LAYER)


async def test_what_is_not_there_is_unknown_with_the_right_code(http: httpx.AsyncClient) -> None:
    await push_image(http, "apps/api", "1.0", LAYER)
    elsewhere = await push_blob(http, "apps/other", b"known to another repository only")
    gone = f"sha256:{'0' * 64}"
    for path, code in (
        ("/v2/apps/api/manifests/2.0", "MANIFEST_UNKNOWN"),
        (f"/v2/apps/api/manifests/{gone}", "MANIFEST_UNKNOWN"),
        (f"/v2/apps/api/blobs/{gone}", "BLOB_UNKNOWN"),
        (f"/v2/apps/api/blobs/{elsewhere}", "BLOB_UNKNOWN"),
        ("/v2/apps/none/tags/list", "NAME_UNKNOWN"),
    ):
        answer = await http.get(path)
        assert answer.status_code == 404, path
        assert json.loads(answer.content)["errors"][0]["code"] == code
