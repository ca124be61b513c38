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

X = "a" * 32


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Who was asked what it holds, and its sisters."""
    found: list[tuple[str, dict[str, str]]] = []

    async def content_of(gate: Any, at: str, sisters: dict[str, str], *, node: str) -> contents.Content:
        found.append((at, sisters))
        return contents.Content()

    monkeypatch.setattr(contents, "content_of", content_of)
    return found


async def test_a_node_on_a_machine_that_moved_is_asked_where_that_is_now(
    tmp_path: Path, asked: list[tuple[str, dict[str, str]]]
) -> None:
    """Where it was another machine may be, whose node would say that there is nothing to lose."""
    ours, host = deployed.whole(tmp_path), deployed.whole(tmp_path).hosts["eu-2"]
    was = RememberedHost(
        site="eu", address="10.1.0.99", port=22, machine=X, nodes={"ci-2": RememberedNode(url="https://10.1.0.99:5002")}
    )
    ours = replace(ours, before={"eu-2": was})
    port = next(each.settings.listen.port for each in host.nodes if each.name == "ci-2")
    said = deployed.facts(host).model_copy(update={"machine_id": X})
    ours, _ = ours.recognised({"eu-2": said})
    plan = with_removal(host_plan(without(host, "ci-2"), said), NOW)
    await _contents(None, ours, {"eu-2": plan}, everything=True)  # type: ignore[arg-type]
    assert asked == [(f"https://10.1.0.12:{port}", {})]


async def test_a_node_that_moves_and_keeps_its_name_is_no_copy_of_itself(
    tmp_path: Path, asked: list[tuple[str, dict[str, str]]]
) -> None:
    ours = deployed.whole(tmp_path)
    url, host = "https://ci-2.example", ours.hosts["eu-2"]
    nodes = {"ci-2": RememberedNode(url=url)}
    before = {"eu-2": RememberedHost(site="eu", address="10.1.0.12", port=2222, nodes=nodes)}
    ours = replace(ours, before=before, urls={**ours.urls, "ci-2": url})
    plan = with_removal(host_plan(without(host, "ci-2"), deployed.facts(host)), NOW)
    await _contents(None, ours, {"eu-2": plan}, everything=False)  # type: ignore[arg-type]
    assert asked == [(url, {})]
