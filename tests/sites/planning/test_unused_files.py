"""Files that a staying node no longer uses: found by our names in its folders, gone after the gates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.planning.plan import host_plan
from sites.planning.removal import with_removal
from sites.planning.removal_actions import Prune
from tests.sites import deployed

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
KEY, CERTIFICATE = str(layout.credentials("ci-2") / "tls.key"), str(layout.certificate("ci-2"))


@pytest.fixture
def host(tmp_path: Path) -> DesiredHost:
    return deployed.hosts(deployed.topology(deployed.folder(tmp_path)), tmp_path)["eu-2"]


def without_tls(host: DesiredHost) -> DesiredHost:
    """As it is wanted once ci-2 stands behind nginx."""
    nodes = (
        replace(each, files=tuple(file for file in each.files if file.path not in (KEY, CERTIFICATE)))
        if each.name == "ci-2"
        else each
        for each in host.nodes
    )
    return replace(host, nodes=tuple(nodes))


def test_the_former_certificate_and_its_key_go_when_the_nodes_have_passed_their_gates(host: DesiredHost) -> None:
    facts = deployed.facts(host)
    folder = str(layout.settings("ci-2").parent)
    names = {folder: ("tls.crt", "settings.json", "credentials", "notes.txt"), f"{folder}/credentials": ("tls.key",)}
    facts = facts.model_copy(update={"inside": names})
    assert with_removal(host_plan(host, facts), NOW).changes is False, "they are wanted"

    plan = with_removal(host_plan(without_tls(host), facts), NOW)
    told = [each for each in plan.all_rows if each.operation == "file"]
    assert [(each.sign, each.node, each.change) for each in told] == [
        ("~", "ci-2", "tls.key, tls.crt: not used any more")
    ]
    assert plan.finish[0] == Prune((KEY, CERTIFICATE)), "nothing of a stranger's, and before the inventory is written"
    assert len(plan.finish) > 1
    assert not any(isinstance(each, Prune) for node in plan.nodes for each in node.actions)


def test_files_of_another_node_s_folder_are_none_of_its(host: DesiredHost) -> None:
    facts = deployed.facts(host).model_copy(update={"inside": {"/etc/towpath/other": ("tls.key",)}})
    assert not any(isinstance(each, Prune) for each in with_removal(host_plan(without_tls(host), facts), NOW).finish)
