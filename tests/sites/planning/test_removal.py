"""What leaves a host: known by its inventory alone, moved to trash, and nothing beyond our folders whatever that lists."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.planning.actions import Remove, Unit
from sites.planning.facts import HostFacts, PathFacts, RecordedPart
from sites.planning.host_plan import HostPlan
from sites.planning.parts import with_parts
from sites.planning.plan import host_plan
from sites.planning.proxy import with_proxy
from sites.planning.removal import vacated, with_removal
from sites.planning.removal_actions import Discard, Empty, Prune, Sweep
from tests.sites import deployed

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
OLD, OLDER, OLDEST = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def host(tmp_path: Path) -> DesiredHost:
    """eu-2, with four nodes."""
    return deployed.hosts(deployed.topology(deployed.folder(tmp_path)), tmp_path)["eu-2"]


def without(host: DesiredHost, *names: str) -> DesiredHost:
    return replace(host, nodes=tuple(each for each in host.nodes if each.name not in names))


def planned(host: DesiredHost, facts: HostFacts) -> HostPlan:
    return with_removal(host_plan(host, facts), NOW)


def rows(plan: HostPlan) -> list[tuple[str, str, str, str]]:
    return [(each.sign, each.node, each.operation, each.change) for each in plan.all_rows]


def edited(facts: HostFacts, **changed: Any) -> HostFacts:
    assert facts.inventory is not None
    return facts.model_copy(update={"inventory": facts.inventory.model_copy(update=changed)})


def test_a_node_that_left_is_stopped_kept_in_trash_and_pruned(host: DesiredHost) -> None:
    plan = planned(without(host, "ci-2"), deployed.facts(host))
    assert rows(plan) == [("-", "ci-2", "node", "local of ci, data to trash for 30 d")]
    assert plan.removal is not None
    (leaving,) = plan.removal.leaving
    assert (leaving.runs, leaving.protected, leaving.holds_content) == (True, (), True)
    kinds = [type(each) for each in leaving.actions]
    assert kinds.index(Unit) < kinds.index(Discard) < kinds.index(Prune)
    assert leaving.actions[0] == Unit("disable", layout.unit("ci-2"))
    (data,) = (each for each in leaving.actions if isinstance(each, Discard))
    assert (data.path, data.target) == ("/var/lib/towpath/ci-2", "/var/lib/towpath/.trash/ci-2-20261123T120000Z")
    (gone,) = (each for each in leaving.actions if isinstance(each, Prune))
    assert {str(layout.settings("ci-2")), str(layout.unit_file("ci-2")), str(layout.release_of("ci-2"))} <= set(
        gone.files
    )
    assert not [each for each in gone.files if "ci-2" not in each], "nothing of another node"


def test_without_an_inventory_nothing_leaves(host: DesiredHost) -> None:
    facts = deployed.facts(host).model_copy(update={"inventory": None})
    plan = planned(without(host, "ci-2"), facts)
    assert plan.removal is not None and plan.removal.leaving == ()


@pytest.mark.attack("A-edited-inventory")
def test_an_inventory_that_lists_what_is_not_ours_removes_none_of_it(host: DesiredHost) -> None:
    facts = deployed.facts(host)
    assert facts.inventory is not None
    foreign = [
        "/etc/passwd",
        "/etc/towpath/ci-2/../../passwd",
        "/etc/towpath/all-1/settings.json",
        "/etc/systemd/system/ssh.service",
        "/etc/systemd/system/towpath-../../../passwd.service",
        "/opt/towpath/nodes/all-1",
        "passwd",
    ]
    laid = {each: {"node": "ci-2", "sha256": "0" * 64} for each in foreign}
    names = {"../../etc": {"kind": "local"}, "": {}, "x/y": {}}
    facts = edited(
        facts,
        files={**facts.inventory.files, **laid},
        units={**facts.inventory.units, "ssh.service": "../../etc"},
        nodes={**facts.inventory.nodes, **names},
    )
    plan = planned(without(host, "ci-2"), facts)
    assert plan.removal is not None
    assert [each.node for each in plan.removal.leaving] == ["ci-2"]
    touched = [path for each in plan.removal.leaving[0].actions if isinstance(each, Prune) for path in each.files]
    assert not set(touched) & set(foreign)
    assert "ssh" not in str([each.told() for each in plan.removal.leaving[0].actions])
    said = [change for _, _, operation, change in rows(plan) if operation == "inventory"]
    assert said == [f"lists {each}, which is none of ours: left alone" for each in foreign]


def test_protection_is_known_from_the_host_and_from_here(host: DesiredHost) -> None:
    facts = deployed.facts(host)
    assert facts.inventory is not None
    ci = facts.inventory.nodes["ci-2"].model_copy(update={"protected": ("scope",)})
    facts = edited(facts, nodes={**facts.inventory.nodes, "ci-2": ci})
    plan = with_removal(host_plan(without(host, "ci-2", "hub-2"), facts), NOW, [("hub-2", "node"), ("other", "node")])
    assert plan.removal is not None
    assert {each.node: each.protected for each in plan.removal.leaving} == {"ci-2": ("scope",), "hub-2": ("node",)}
    assert [each.holds_content for each in plan.removal.leaving] == [True, False], "a mirror holds copies"


def test_one_whose_port_is_wanted_goes_before_its_successor_comes(host: DesiredHost, tmp_path: Path) -> None:
    renamed = deployed.topology(tmp_path, ("ci-2", "ci-new"))
    wanted = deployed.hosts(renamed, tmp_path)["eu-2"]
    plan = planned(wanted, deployed.facts(host))
    assert plan.removal is not None
    assert [(each.node, each.first) for each in plan.removal.leaving] == [("ci-2", True)]
    assert [each.first for each in planned(without(host, "ci-2"), deployed.facts(host)).removal.leaving] == [False]  # type: ignore[union-attr]


def test_a_host_that_left_gives_up_all_of_it_and_its_inventory(host: DesiredHost) -> None:
    facts = deployed.facts(host)
    bare = replace(host, nodes=(), directories=())
    plan = with_removal(vacated(bare, facts), NOW)
    assert plan.changes and plan.removal is not None
    assert {each.node for each in plan.removal.leaving} == {"sandbox-2", "ci-2", "hub-2", "all-2"}
    assert plan.finish[-1].command == f"rm -rf {layout.INVENTORY}"
    nothing = with_removal(vacated(bare, deployed.facts()), NOW)
    assert not nothing.changes and rows(nothing) == []


def trash(**ends: float | None) -> dict[str, Any]:
    return {name.replace("_", "-"): {"until": end} for name, end in ends.items()}


def test_trash_goes_when_its_term_is_over_and_not_before(host: DesiredHost) -> None:
    kept = NOW + timedelta(days=1)
    there = {
        "ci-1-20261001T000000Z": {"until": NOW.timestamp() - 1},
        "ci-2-20261101T000000Z": {"until": kept.timestamp()},
        "ci-3-20261001T000000Z": {},
        "ci-4-20261001T000000Z": None,
        "..": {"until": 0},
        "mine": {"until": 0},
    }
    facts = deployed.facts(host, earlier={"trash": there}, time=NOW.timestamp())
    plan = planned(host, facts)
    assert rows(plan) == [("-", "", "trash", "ci-1-20261001T000000Z: its term ended on 2026-11-23")]
    assert [each for each in plan.finish if isinstance(each, Empty)] == [
        Empty("/var/lib/towpath/.trash/ci-1-20261001T000000Z")
    ]


def test_no_clock_that_is_off_shortens_the_term_of_trash(host: DesiredHost) -> None:
    day = timedelta(days=1)
    there = {"ci-1-20261001T000000Z": {"until": (NOW + day).timestamp()}}
    behind = deployed.facts(host, earlier={"trash": there}, time=NOW.timestamp())
    assert rows(with_removal(host_plan(host, behind), NOW + 40 * day)) == [], "ours jumped ahead"
    ahead = deployed.facts(host, earlier={"trash": there}, time=(NOW + 40 * day).timestamp())
    assert rows(planned(host, ahead)) == [], "the host's did"
    removal = planned(without(host, "ci-2"), ahead).removal
    assert removal is not None
    (data,) = (each for each in removal.leaving[0].actions if isinstance(each, Discard))
    assert json.loads(data.told()["note"])["until"] == (NOW + 70 * day).timestamp()


@pytest.mark.attack("A-edited-inventory")
def test_of_parts_and_proxies_that_an_inventory_lists_only_files_of_ours_go(host: DesiredHost) -> None:
    facts = deployed.facts(host)
    assert facts.inventory is not None
    folder, file = PathFacts(kind="directory"), PathFacts(kind="file", sha256="0" * 64)
    journal = str(layout.JOURNAL)
    there = {"/var/lib/towpath": folder, journal: file}
    there |= {"/etc/x/towpath.conf": file, "/etc/towpath/.proxy/../../passwd": file}
    parts = {**facts.inventory.parts, "old": RecordedPart(files={path: {} for path in there})}
    facts = edited(facts, parts=parts, files={**facts.inventory.files, **{path: {"node": ""} for path in there}})
    facts = facts.model_copy(update={"paths": {**facts.paths, **there}})
    plan = with_proxy(with_parts(host_plan(host, facts)))
    told = [each.path for each in (*plan.finish, *plan.proxy.actions) if isinstance(each, Remove)]
    assert told == [journal]


def earlier(links: dict[str, str], former: dict[str, str], came: tuple[str, ...]) -> dict[str, Any]:
    """``came``: the oldest first."""
    return {
        "links": {node: [f"../releases/{each}"] for node, each in links.items()},
        "former": {node: [f"../releases/{each}"] for node, each in former.items()},
        "came": {each: float(number) for number, each in enumerate(came)},
    }


def test_of_old_releases_those_in_use_the_way_back_and_one_more_stay(host: DesiredHost) -> None:
    names = [each.name for each in host.nodes]
    current = dict.fromkeys(names, deployed.RELEASE)
    told = earlier(current, dict.fromkeys(names, OLD), (OLDEST, OLDER, OLD, deployed.RELEASE, "not-a-release"))
    plan = planned(host, deployed.facts(host, earlier=told))
    assert rows(plan) == [("-", "", "releases", "1 that no node needs")]
    (swept,) = (each for each in plan.finish if isinstance(each, Sweep))
    assert swept.names == (OLDEST,)
    told = earlier({**current, "by-hand": OLDEST}, {names[0]: OLD}, (OLDEST, OLDER, OLD, deployed.RELEASE))
    assert rows(planned(host, deployed.facts(host, earlier=told))) == [], "one that any link names stays"


def test_an_upgrade_takes_at_once_what_nobody_needs_after_it(host: DesiredHost, tmp_path: Path) -> None:
    names, new = [each.name for each in host.nodes], "f" * 16
    topology = deployed.topology(tmp_path)
    wanted = deployed.hosts(topology, tmp_path, release=new)["eu-2"]
    told = earlier(dict.fromkeys(names, deployed.RELEASE), dict.fromkeys(names, OLD), (OLDER, OLD, deployed.RELEASE))
    plan = planned(wanted, deployed.facts(host, earlier=told))
    (swept,) = (each for each in plan.finish if isinstance(each, Sweep))
    assert swept.names == (OLDER,), "OLD is the one more, and what runs now the way back"
    told = earlier(dict.fromkeys(names, new), dict.fromkeys(names, deployed.RELEASE), (OLD, deployed.RELEASE, new))
    assert rows(planned(wanted, deployed.facts(wanted, earlier=told))) == [], "the next plan has nothing to do"
