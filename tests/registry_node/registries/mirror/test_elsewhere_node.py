"""Nodes of kind mirror beside another node, and before upstreams whose answers will not do, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from tests.nodes import RunningNode, running
from tests.registry_node.registries.mirror.test_node import push
from tests.upstreams import faults
from tests.upstreams.holdings import LAYER, described
from tests.upstreams.lying import LyingUpstream, Plan

pytestmark = pytest.mark.slow
BASE, SMALL = os.urandom(3_000_000), os.urandom(5_000)
GRANTS = [{"to": "everyone", "allow": ["pull"]}]


def mirror(folder: Path, upstream: LyingUpstream, limits: dict[str, Any] | None = None, **settings: Any) -> Any:
    origin = {"name": "origin", "url": upstream.url}
    given = {"upstreams": [origin], "answer_seconds": 3, **settings}
    return running(folder, node="cache", scope="cache", kind="mirror", mirror=given, grants=GRANTS, limits=limits or {})


@pytest.fixture
def upstream() -> Iterator[LyingUpstream]:
    with LyingUpstream() as started:
        started.holdings.image("lib/base", BASE, SMALL, tags=("1",))
        yield started


def blob(content: bytes) -> str:
    return f"/v2/lib/base/blobs/{Digest.of(content)}"


@pytest.mark.attack("A-named-not-held")
def test_a_neighbours_copy_over_http(tmp_path: Path, upstream: LyingUpstream) -> None:
    with running(tmp_path / "ci", node="ci-eu") as ci:
        push(ci, "apps/web", "1", BASE, SMALL)
        beside = {"name": "ci-eu", "data": str(ci.data), "grants": [{"to": "dev", "allow": ["pull"]}]}
        with mirror(tmp_path / "cache", upstream, neighbours=[beside]) as cache:
            pulls_of_dev(cache)
            assert upstream.server.count("GET", "blobs") == 0
            ci.stop()
            pulls_of_dev(cache)
            with cache.client(None) as anybody, cache.client("reader") as reader:
                for http in (anybody, reader):
                    answer = http.get(blob(BASE))
                    assert answer.content == BASE and "x-towpath-member" not in answer.headers
            assert upstream.server.count("GET", str(Digest.of(BASE))) == 1


def pulls_of_dev(cache: RunningNode) -> None:
    with cache.client("dev") as http:
        assert http.get("/v2/lib/base/manifests/1").status_code == 200
        for content in (BASE, SMALL, BASE):
            answer = http.get(blob(content))
            assert (answer.status_code, answer.content) == (200, content)
            assert answer.headers["x-towpath-member"] == "ci-eu"
        part = http.get(blob(BASE), headers={"range": "bytes=5-999999"})
        assert (part.status_code, part.content) == (206, BASE[5:1_000_000])
        assert http.head(blob(BASE)).headers["content-length"] == str(len(BASE))
        assert 'towpath_mirror_neighbour_blobs_total{neighbour="ci-eu"}' in http.get("/metrics").text
        told = http.get("/_towpath/v1/r/lib/base/_/why/1").json()
        assert told["asked"][-1] == {
            "member": "ci-eu",
            "outcome": "cached",
            "reason": "2 of 3 blobs are read of its folder",
        }


@pytest.mark.attack("A-cache-poisoning")
def test_bad_answers_are_502_with_the_reason(tmp_path: Path, upstream: LyingUpstream) -> None:
    upstream.plan = Plan(among=[faults.other_bytes], slow=0, kinds=["blobs"])
    with mirror(tmp_path / "cache", upstream) as cache, cache.client(None) as http:
        assert http.get("/v2/lib/base/manifests/1").status_code == 200
        answer = http.get(blob(SMALL))
        error = answer.json()["errors"][0]
        assert (answer.status_code, error["code"]) == (502, "BAD_GATEWAY")
        assert error["detail"] == {"upstream": "origin", "reason": "bad-answer"}


def test_a_manifest_beyond_the_nodes_limit(tmp_path: Path, upstream: LyingUpstream) -> None:
    with mirror(tmp_path / "cache", upstream, {"manifest_bytes": 300}) as cache, cache.client(None) as http:
        answer = http.get("/v2/lib/base/manifests/1")
        assert answer.status_code == 502
        error = answer.json()["errors"][0]
        assert error["detail"] == {"upstream": "origin", "reason": "too-large"}
        assert "limits.manifest_bytes" in error["message"]


@pytest.mark.attack("A-upstream-addresses")
def test_a_url_of_this_host_is_not_fetched_whatever_is_allowed(tmp_path: Path, upstream: LyingUpstream) -> None:
    foreign = os.urandom(1000)
    named = {
        **described(foreign, LAYER),
        "urls": [f"{upstream.stranger.url}/x", f"http://localhost:{upstream.url[-5:]}/"],
    }
    upstream.holdings.image("lib/base", layers=[named], tags=("2",))
    with (
        mirror(tmp_path / "cache", upstream, foreign_layers=["**", "*://**:*/**"]) as cache,
        cache.client(None) as http,
    ):
        assert http.get("/v2/lib/base/manifests/2").status_code == 200
        answer = http.get(blob(foreign))
        assert (answer.status_code, answer.json()["errors"][0]["detail"]["reason"]) == (502, "private")
    assert upstream.stranger.seen == [] and "GET /" not in upstream.server.lines()
