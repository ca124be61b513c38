"""What makes a host unfit is told before anything is sent there, all of it at once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.hosts import HostErrors
from sites.planning.deployment import unfit
from sites.remembered import RememberedHost, RememberedNode
from tests.sites import deployed

UNIT = layout.unit("sandbox-1")


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({}, []),
        ({"systemd": False, "python": "3.9"}, ["host-unfit", "host-unfit"]),
        ({"machine": "riscv64"}, ["host-unfit"]),
        ({"disk": {"total": 2**30, "free": 2**20}}, ["host-unfit"]),
        ({"time": time.time() + 3600}, ["host-unfit"]),
        ({"ports": {"5001": "nginx (process 12)"}}, ["port-in-use"]),
        ({"ports": {"5001": "python3 (process 7)"}, "units": {UNIT: {"ActiveState": "active", "MainPID": "7"}}}, []),
    ],
)
def test_a_host_must_be_fit(tmp_path: Path, changed: dict[str, Any], codes: list[str]) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    found = unfit(host, deployed.facts(**changed))
    assert [each.code for each in found] == codes
    assert all(each.next for each in found)


def test_a_full_disk_does_not_matter_to_a_host_that_has_the_release(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert unfit(host, deployed.facts(host, disk={"total": 2**30, "free": 0})) == []


def remembered(address: str, port: int, node: str) -> RememberedHost:
    nodes = {node: RememberedNode(url=f"https://{address}:5001")}
    return RememberedHost(site="eu", address=address, port=port, nodes=nodes)


def test_a_host_that_is_called_by_another_name_now_has_not_left(tmp_path: Path) -> None:
    before = {
        "formerly": remembered("10.1.0.12", 2222, "ci-2"),
        "gone": remembered("10.1.0.12", 22, "ci-9"),
        "eu-1": remembered("10.1.0.11", 22, "sandbox-1"),
    }
    assert list(replace(deployed.whole(tmp_path), before=before).left) == ["gone"]


def test_nodes_of_another_topology_on_a_host_are_not_taken_for_ones_that_left(tmp_path: Path) -> None:
    ours = deployed.whole(tmp_path)
    host = ours.hosts["eu-2"]
    of_others = {"eu-2": deployed.facts(replace(host, topology="other"))}
    for step in (ours.plans, ours.removal_of_all):
        with pytest.raises(HostErrors) as refused:
            step(of_others)
        (error,) = refused.value.errors
        assert (error.code, "topology other" in error.what) == ("host-of-another-topology", True)
    before_it_was_said = {"eu-2": deployed.facts(replace(host, topology=""))}
    assert set(ours.plans({"eu-2": deployed.facts(host)})) == set(ours.plans(before_it_was_said)) == {"eu-2"}
