"""A host's record that is lost, unreadable or lacks nodes: said, and written anew from what is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost, recorded
from sites.desired.inventory import targets_of
from sites.hosts import HostError, HostErrors
from sites.planning.adoption import adopted, issued_on
from sites.planning.deployment import Deployment
from sites.planning.drift import drift
from sites.planning.facts import HostFacts, read_facts
from sites.planning.host_plan import HostPlan
from sites.planning.records import in_force, nodes_of, remade
from sites.remembered import RememberedHost, RememberedNode
from sites.state import StateFolder
from tests.sites import deployed


@pytest.fixture
def ours(tmp_path: Path) -> Deployment:
    topology = deployed.topology(deployed.folder(tmp_path))
    hosts = deployed.hosts(topology, tmp_path)
    return Deployment(topology, targets_of(topology), hosts, hosts["eu-1"].release, "engine", {}, None)


@pytest.fixture
def host(ours: Deployment) -> DesiredHost:
    """eu-2, with four nodes."""
    return ours.hosts["eu-2"]


def there(host: DesiredHost) -> dict[str, tuple[str, ...]]:
    """As the host's folders show it."""
    return {each.name: (*(file.path for file in each.files), each.link[0]) for each in host.nodes}


def facts(host: DesiredHost, **changed: Any) -> HostFacts:
    return deployed.facts(host, there=there(host), **changed)


def without(ours: Deployment, node: str) -> Deployment:
    """The topology no longer has it."""
    host = ours.hosts["eu-2"]
    kept = replace(host, nodes=tuple(each for each in host.nodes if each.name != node))
    target = replace(ours.targets["eu-2"], nodes=tuple(each for each in ours.targets["eu-2"].nodes if each != node))
    nodes = {name: each for name, each in ours.topology.nodes.items() if name != node}
    topology = ours.topology.model_copy(update={"nodes": nodes})
    return replace(
        ours, topology=topology, hosts={**ours.hosts, "eu-2": kept}, targets={**ours.targets, "eu-2": target}
    )


def refusals(ours: Deployment, found: HostFacts, *, everything: bool = False) -> list[HostError]:
    try:
        (ours.removal_of_all if everything else ours.plans)({"eu-2": found})
    except HostErrors as refused:
        return list(refused.errors)
    return []


def rows(plan: HostPlan) -> list[tuple[str, str, str]]:
    return [(each.sign, each.node, each.operation) for each in plan.all_rows]


def test_a_lost_record_is_no_empty_host(ours: Deployment, host: DesiredHost) -> None:
    lost = facts(host, inventory=None)
    assert refusals(ours, lost) == [], "a first apply that was cut goes on"
    (destroy,) = refusals(ours, lost, everything=True)
    assert (destroy.code, "towpath import eu-2" in destroy.next) == ("record-lost", True)
    (stray,) = refusals(without(ours, "ci-2"), lost)
    assert (stray.code, "has ci-2, and its record is lost" in stray.what) == ("record-lost", True)
    assert refusals(ours, deployed.facts(), everything=True) == [], "an empty host has nothing to lose"


def test_a_node_that_the_record_does_not_list_is_not_left_to_run(ours: Deployment, host: DesiredHost) -> None:
    fewer = without(ours, "ci-2")
    found = facts(host, inventory=json.loads(recorded(fewer.hosts["eu-2"])))
    (stray,) = refusals(fewer, found)
    assert (stray.code, "does not list them" in stray.what) == ("record-lost", True)
    assert refusals(ours, found) == []


def test_the_record_of_a_host_that_is_as_it_must_be_is_the_one_that_apply_writes(
    ours: Deployment, host: DesiredHost
) -> None:
    lost = facts(host, inventory=None)
    record = remade(host, lost)
    assert record == recorded(host)
    assert remade(host, in_force(lost, record)) is None, "once is enough"
    assert remade(host, deployed.facts()) is None, "an empty host gets none"


def test_a_remade_record_lists_what_is_there_as_it_is(ours: Deployment, host: DesiredHost) -> None:
    lost = facts(host, inventory=None)
    edited, gone = layout.settings("ci-2"), layout.unit_file("hub-2")
    paths = {**lost.paths, str(edited): lost.paths[str(edited)].model_copy(update={"sha256": "0" * 64})}  # type: ignore[union-attr]
    del paths[str(gone)]
    lost = lost.model_copy(update={"paths": paths})
    after = in_force(lost, remade(host, lost))
    assert drift(host, after) == (), "what was edited before cannot be told any more"
    planned = rows(ours.plans({"eu-2": after})["eu-2"])
    assert {(node, operation) for _, node, operation in planned} >= {("hub-2", "file"), ("ci-2", "file")}
    assert "-" not in {sign for sign, _, _ in planned}


def test_a_node_that_the_topology_no_longer_has_leaves_after_the_import(ours: Deployment, host: DesiredHost) -> None:
    fewer = without(ours, "ci-2")
    found = adopted(fewer, "eu-2", facts(host, inventory=None), anyway=False)
    assert found.errors == () and found.record is not None
    assert [name for name, said in found.nodes.items() if "leaves" in said] == ["ci-2"]
    after = in_force(facts(host, inventory=None), found.record)
    plan = fewer.plans({"eu-2": after})["eu-2"]
    assert rows(plan) == [("-", "ci-2", "node")]
    assert plan.removal is not None
    (leaving,) = plan.removal.leaving
    assert (leaving.told.kind, leaving.told.scope, leaving.told.port) == ("local", "ci", 5002)
    assert refusals(fewer, after, everything=True) == []


def test_protection_that_is_remembered_here_is_in_the_remade_record(ours: Deployment, host: DesiredHost) -> None:
    nodes = {"ci-2": RememberedNode(url="https://10.1.0.12:5002", protected=("node",))}
    before = {"eu-2": RememberedHost(site="eu", address="10.1.0.12", port=2222, nodes=nodes)}
    found = adopted(replace(ours, before=before), "eu-2", facts(host, inventory=None), anyway=False)
    assert json.loads(found.record or b"{}")["nodes"]["ci-2"]["protected"] == ["node"]


def test_another_topology_s_host_is_not_taken_over(ours: Deployment, host: DesiredHost) -> None:
    theirs = replace(host, topology="other")
    for anyway in (False, True):
        found = adopted(ours, "eu-2", facts(theirs), anyway=anyway)
        assert [each.code for each in found.errors] == ["host-of-another-topology"] and found.record is None


def test_nodes_of_which_none_is_known_are_taken_over_only_when_it_is_said(ours: Deployment, host: DesiredHost) -> None:
    """Without a record, or with one of an earlier towpath, which did not say whose its nodes are."""
    renamed = replace(host, topology="", nodes=tuple(replace(each, name=f"x-{each.name}") for each in host.nodes))
    for found in (facts(renamed), facts(renamed, inventory=None)):
        assert "host-of-unknown-topology" in [each.code for each in refusals(ours, found)]
        assert [each.code for each in adopted(ours, "eu-2", found, anyway=False).errors] == ["host-of-unknown-topology"]
        told = json.loads(adopted(ours, "eu-2", found, anyway=True).record or b"{}")
        assert (told["topology"], "x-ci-2" in told["nodes"]) == (ours.topology.metadata.name, True)


def test_a_record_of_an_earlier_towpath_is_trusted_when_one_of_its_nodes_is_known(
    ours: Deployment, host: DesiredHost
) -> None:
    found = facts(replace(host, topology=""))
    assert refusals(ours, found) == [] == refusals(ours, found, everything=True)
    whose = json.loads(adopted(ours, "eu-2", found, anyway=False).record or b"{}")["topology"]
    assert whose == ours.topology.metadata.name, "from then on it says whose they are"


@pytest.mark.parametrize(
    "inventory",
    [{"nodes": {"ci-2": {"port": "many"}}}, {"units": {"towpath-ci-2.service": 7}}, {"nodes": [1]}, [1], "text", 7],
)
def test_a_record_of_another_shape_is_refused_and_not_passed_over(
    ours: Deployment, host: DesiredHost, inventory: Any
) -> None:
    said = {**facts(host).model_dump(mode="json", by_alias=True), "inventory": inventory}
    found = read_facts("eu-2", said)
    assert found.inventory is None and found.unreadable
    for everything in (False, True):
        (error,) = refusals(ours, found, everything=everything)
        assert (error.code, "towpath import eu-2" in error.next) == ("record-unreadable", True)
    with pytest.raises(HostErrors):
        ours.insist_readable({"eu-2": found})
    assert remade(host, found) == recorded(host)


def test_no_node_is_there_that_neither_folders_nor_records_show(host: DesiredHost) -> None:
    assert nodes_of(deployed.facts()) == set()
    assert nodes_of(deployed.facts(host)) == nodes_of(facts(host, inventory=None)) == {each.name for each in host.nodes}


def test_what_was_issued_comes_back_to_where_it_was_kept(ours: Deployment, host: DesiredHost, tmp_path: Path) -> None:
    places = issued_on(ours.topology, host.target, StateFolder(tmp_path / "new"))
    laid = {each.path: each.content for node in host.nodes for each in node.files}
    assert {path for path in laid if path.endswith(("/tls.crt", "/tls.key", "/robot"))} == set(places)
    for path, place in places.items():
        if place.parent.name == "tls":
            assert laid[path] == (tmp_path / "issued" / place.name).read_bytes(), "as it is called where it was issued"
