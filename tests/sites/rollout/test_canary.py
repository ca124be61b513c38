"""The health gate against real nodes: what passes, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from registry_node.settings import NodeSettings
from sites.hosts import HostError
from sites.rollout.canary import Gate
from sites.rollout.canary_name import canary_name
from sites.settings.node_settings import rendered
from tests.nodes import SECRETS, RunningNode


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (None, "towpath/canary"),
        ("apps/[a-z0-9-]+", "apps/towpath-canary"),
        ("(team-a|team-b)/[a-z]{3,8}", "team-a/towpathc"),
        (r"\d+", "0"),
        ("[a-z]+(/[0-9]+)*", "towpathcanary"),
        (r"v[0-9]{4}/.*", "v0000/towpath-canary"),
        ("^prod/x$", "prod/x"),
        ("[A-Z]+", None),
        (".*", "towpath/canary"),
    ],
)
def test_a_name_that_the_scope_lets_through(rule: str | None, name: str | None) -> None:
    assert canary_name(rule) == name


def started(tmp_path: Path, **settings: Any) -> RunningNode:
    node = RunningNode(tmp_path / "box", **settings)
    wanted = NodeSettings.model_validate(node.settings)
    node.start()
    node.settings_file.write_bytes(rendered(wanted))
    return node


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rules": {"write": "promotion-only", "repository_name": "apps/[a-z-]+", "require_labels": ["owner"]}},
        {"rules": {"write": "read-only"}},
        {"rules": {"quota_bytes": 1}},
    ],
)
async def test_a_node_that_works_passes_and_keeps_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    node = started(tmp_path, **settings)
    try:
        await Gate(SECRETS["towpath-engine"]).check(
            "box", node.url, NodeSettings.model_validate(node.settings), seconds=20
        )
        with httpx.Client(base_url=node.url, auth=node.auth("towpath-engine"), trust_env=False) as client:
            for name in client.get("/v2/_catalog").json()["repositories"]:
                assert client.get(f"/v2/{name}/tags/list").json().get("tags") in ([], None)
    finally:
        node.kill()


@pytest.mark.slow
async def test_one_that_knows_no_engine_does_not(tmp_path: Path) -> None:
    node = started(tmp_path)
    try:
        with pytest.raises(HostError) as refused:
            await Gate("another-token-than-its-own").check("box", node.url, NodeSettings.model_validate(node.settings))
        assert (refused.value.code, refused.value.where) == ("node-unhealthy", node.url)
    finally:
        node.kill()


@pytest.mark.slow
async def test_one_on_other_settings_does_not(tmp_path: Path) -> None:
    node = started(tmp_path)
    wanted = NodeSettings.model_validate({**node.settings, "site": "elsewhere"})
    try:
        with pytest.raises(HostError, match="not ready") as refused:
            await Gate(SECRETS["towpath-engine"]).check("box", node.url, wanted, seconds=1)
        assert refused.value.why == "it has not taken its settings"
    finally:
        node.kill()


async def test_one_that_is_not_there_does_not() -> None:
    settings = NodeSettings.model_validate({"node": "a", "scope": "s", "listen": {"port": 1}, "data": "/nowhere"})
    gate = Gate("x")
    assert not await gate.serves("http://127.0.0.1:1")
    with pytest.raises(HostError):
        await gate.check("a", "http://127.0.0.1:1", settings, seconds=0.2)
