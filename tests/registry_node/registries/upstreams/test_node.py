"""A node of kind mirror before a Docker Hub that gives three manifests."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from tests.nodes import RunningNode
from tests.registry_node.registries.upstreams.conftest import of_hub
from tests.upstreams.hub import FakeHub

MANIFEST = "/v2/library/{}/manifests/latest"


def value(http: httpx.Client, name: str) -> float | None:
    found = re.search(rf'^{name}{{upstream="hub"}} (\S+)$', http.get("/metrics").text, flags=re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.slow
def test_the_last_of_a_budget_goes_to_what_is_in_no_cache_also_after_a_restart(tmp_path: Path) -> None:
    settings = {"upstreams": [], "tag_seconds": 0, "answer_seconds": 5}
    grants = [{"to": "everyone", "allow": ["pull"]}]
    with FakeHub(budget=3) as hub:
        settings["upstreams"] = [of_hub(hub)]
        node = RunningNode(
            tmp_path / "cache", node="cache", scope="cache", kind="mirror", mirror=settings, grants=grants
        )
        first, second = hub.image("first", b"1"), hub.image("second", b"2")
        try:
            node.start()
            with httpx.Client(base_url=node.url, trust_env=False, timeout=20) as http:
                assert http.get(MANIFEST.format("first")).content == first.content
                assert http.get(MANIFEST.format("second")).content == second.content
                assert value(http, "towpath_upstream_budget_left") == 1
                hub.image("first", b"moved")
                kept = http.get(MANIFEST.format("first"))
                assert (kept.status_code, kept.content) == (200, first.content)
                assert "warning" in kept.headers
                third = hub.image("third", b"3")
                assert http.get(MANIFEST.format("third")).content == third.content
                assert value(http, "towpath_upstream_budget_left") == 0
            node.stop()
            spent = hub.spent[""]
            hub.image("fourth", b"4")
            node.start()
            with httpx.Client(base_url=node.url, trust_env=False, timeout=20) as http:
                refused = http.get(MANIFEST.format("fourth"))
                assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (
                    503,
                    {"upstream": "hub", "reason": "limited"},
                )
                assert int(refused.headers["retry-after"]) > 0
                assert http.get(MANIFEST.format("third")).content == third.content
            assert hub.spent[""] == spent
        finally:
            node.kill()
