"""Which nodes are asked whether they have what a node that leaves holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sites.planning.plan import host_plan
from sites.planning.removal import with_removal
from sites.remembered import RememberedHost, RememberedNode
from sites.rollout import contents
from tests.sites import deployed
from tests.sites.planning.test_removal import NOW, without
from towpath.leaving import _contents


async def test_a_node_that_moves_and_keeps_its_name_is_no_copy_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = deployed.whole(tmp_path)
    url, host = "https://ci-2.example", ours.hosts["eu-2"]
    nodes = {"ci-2": RememberedNode(url=url)}
    before = {"eu-2": RememberedHost(site="eu", address="10.1.0.12", port=2222, nodes=nodes)}
    ours = replace(ours, before=before, urls={**ours.urls, "ci-2": url})
    asked: list[tuple[str, dict[str, str]]] = []

    async def content_of(gate: Any, at: str, sisters: dict[str, str], *, node: str) -> contents.Content:
        asked.append((at, sisters))
        return contents.Content()

    monkeypatch.setattr(contents, "content_of", content_of)
    plan = with_removal(host_plan(without(host, "ci-2"), deployed.facts(host)), NOW)
    await _contents(None, ours, {"eu-2": plan}, everything=False)  # type: ignore[arg-type]
    assert asked == [(url, {})]
