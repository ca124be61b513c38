"""A node of kind mirror in front of a local node, over HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from tests.nodes import PASSWORD, SECRETS, RunningNode
from tests.registry_node.images import image
from tests.tools import require

LAYER = bytes(range(256)) * 8192  # 2 MiB
GRANTS = [{"to": "everyone", "allow": ["pull"]}, {"to": "dev", "allow": ["pull", "delete"]}]


def mirror_of(origin: RunningNode, folder: Path, **settings: Any) -> RunningNode:
    secret = folder / "origin.secret"
    folder.mkdir(parents=True, exist_ok=True)
    secret.write_text(f"ci:{SECRETS['ci']}")
    secret.chmod(0o600)
    upstream = {"name": "origin", "url": origin.url, "credentials": {"file": str(secret)}}
    given = {"upstreams": [upstream], "tag_seconds": 0.5, **settings}
    return RunningNode(folder, node="cache", scope="cache", kind="mirror", mirror=given, grants=GRANTS)


def push(node: RunningNode, repository: str, tag: str, *layers: bytes) -> bytes:
    with node.client("ci") as http:
        for content in (b"{}", *layers):
            upload = f"/v2/{repository}/blobs/uploads/"
            assert http.post(upload, params={"digest": str(Digest.of(content))}, content=content).status_code == 201
        manifest = image(*layers)
        headers = {"content-type": OCI_MANIFEST}
        assert http.put(f"/v2/{repository}/manifests/{tag}", content=manifest, headers=headers).status_code == 201
    return manifest


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningNode, RunningNode]]:
    folder = tmp_path_factory.mktemp("pair")
    origin = RunningNode(folder / "origin")
    cache = mirror_of(origin, folder / "cache")
    try:
        origin.start()
        cache.start()
        yield origin, cache
    finally:
        origin.kill()
        cache.kill()


@pytest.mark.slow
def test_pull_cold_warm_and_without_the_upstream(pair: tuple[RunningNode, RunningNode]) -> None:
    origin, cache = pair
    manifest = push(origin, "apps/api", "1.0", LAYER)
    layer = f"/v2/apps/api/blobs/{Digest.of(LAYER)}"
    with cache.client(None) as http:
        for _ in range(2):
            assert http.get("/v2/apps/api/manifests/1.0").content == manifest
            assert http.get(layer).content == LAYER
        head = http.head("/v2/apps/api/manifests/1.0")
        assert head.headers["docker-content-digest"] == str(Digest.of(manifest)) and "warning" not in head.headers
        origin.stop()
        try:
            stale = _later(http, "/v2/apps/api/manifests/1.0")
            assert stale.content == manifest
            assert stale.headers["warning"].startswith('110 cache "Response is Stale", 111 cache')
            assert int(stale.headers["age"]) >= 0
            assert http.get(layer, headers={"range": "bytes=5-9"}).content == LAYER[5:10]
            absent = http.get("/v2/apps/api/manifests/2.0")
            assert absent.status_code == 503 and "origin" in absent.json()["errors"][0]["message"]
            cache.restart()
            assert http.get("/v2/apps/api/manifests/1.0").content == manifest
        finally:
            origin.start()


def _later(http: httpx.Client, path: str) -> httpx.Response:
    """Once the copy is no longer fresh."""
    for _ in range(1000):
        answer = http.get(path)
        if "warning" in answer.headers:
            return answer
    raise AssertionError("the copy stays fresh")


@pytest.mark.slow
def test_a_person_cannot_push_and_is_told_where_to(pair: tuple[RunningNode, RunningNode]) -> None:
    origin, cache = pair
    with cache.client("dev") as http:
        for answer in (
            http.post("/v2/apps/api/blobs/uploads/"),
            http.post("/v2/apps/api/blobs/uploads/", params={"mount": str(Digest.of(LAYER)), "from": "apps/web"}),
            http.put("/v2/apps/api/manifests/2.0", content=image(LAYER), headers={"content-type": OCI_MANIFEST}),
            http.patch("/v2/apps/api/blobs/uploads/0123456789abcdef0123456789abcdef", content=b"x"),
        ):
            assert answer.status_code == 405
            error = answer.json()["errors"][0]
            assert error["code"] == "UNSUPPORTED" and origin.url in error["message"]


@pytest.mark.slow
def test_it_says_why_and_counts(pair: tuple[RunningNode, RunningNode]) -> None:
    origin, cache = pair
    push(origin, "apps/why", "1.0", b"layer")
    with cache.client("dev") as http:
        assert http.get("/v2/apps/why/manifests/1.0").status_code == 200
        told = http.get("/_towpath/v1/r/apps/why/_/why/1.0").json()
        assert told["answered"] == "origin" and told["asked"][0]["member"] == "origin"
        absent = http.get("/_towpath/v1/r/apps/why/_/why/2.0").json()
        assert absent["answered"] is None and absent["asked"][0]["outcome"] == "absent"
        figures = http.get("/metrics").text
        assert 'registry_proxy_misses_total{type="manifest"}' in figures
        features = http.get("/_towpath/").json()
        assert "mirror" in features["features"]


@pytest.mark.clients
def test_skopeo_pulls_through_it(pair: tuple[RunningNode, RunningNode], tmp_path: Path) -> None:
    origin, cache = pair
    skopeo = require("skopeo")
    push(origin, "apps/skopeo", "1.0", LAYER, b"another")
    source = f"docker://{cache.host}/apps/skopeo:1.0"
    copy = [skopeo, "copy", "-q", "--src-tls-verify=false", source]
    subprocess.run([*copy, f"dir:{tmp_path / 'cold'}"], check=True)
    subprocess.run([*copy, f"dir:{tmp_path / 'warm'}"], check=True)
    origin.stop()
    try:
        subprocess.run([*copy, f"dir:{tmp_path / 'alone'}"], check=True)
    finally:
        origin.start()
    assert (tmp_path / "alone" / Digest.of(LAYER).hex).read_bytes() == LAYER
    assert PASSWORD not in cache.log.read_text()
