"""What a new replica needs against what is free on its host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sites.planning.host_plan import HostPlan
from sites.planning.plan import host_plan
from sites.planning.space import newcomers, with_space
from tests.sites import deployed
from topology.model import Topology

GIB = 2**30


@pytest.fixture
def declared(tmp_path: Path) -> Topology:
    return deployed.topology(deployed.folder(tmp_path))


@pytest.fixture
def plans(declared: Topology, tmp_path: Path) -> dict[str, HostPlan]:
    """eu-1 is as it must be; eu-2, with the replica, is an empty machine."""
    wanted = deployed.hosts(declared, tmp_path)
    free = deployed.facts(disk={"total": 900 * GIB, "free": 500 * GIB})
    return {
        "eu-1": host_plan(wanted["eu-1"], deployed.facts(wanted["eu-1"])),
        "eu-2": host_plan(wanted["eu-2"], free),
    }


def added(plans: Mapping[str, HostPlan]) -> dict[str, str]:
    return {row.node: row.change for plan in plans.values() for row in plan.all_rows if row.operation == "node"}


def test_the_row_says_what_it_needs_and_what_is_free(declared: Topology, plans: dict[str, HostPlan]) -> None:
    (new,) = newcomers(declared, plans)
    assert (new.node, new.host, new.source, new.source_host) == ("sandbox-2", "eu-2", "sandbox-1", "eu-1")
    shown, sentences = with_space(plans, (new,), {"sandbox-1": 412 * GIB})
    assert added(shown)["sandbox-2"] == "local of sandbox, port 5001, needs 412 GiB, 500 GiB free"
    assert added(shown)["ci-2"] == added(plans)["ci-2"], "it copies nothing"
    assert sentences == ()
    assert [each.actions for each in shown["eu-2"].nodes] == [each.actions for each in plans["eu-2"].nodes]


def test_what_does_not_fit_is_said(declared: Topology, plans: dict[str, HostPlan]) -> None:
    _, sentences = with_space(plans, newcomers(declared, plans), {"sandbox-1": 501 * GIB})
    assert sentences == ("sandbox-2 may not fit on eu-2: 501 GiB are held by what they copy, 500 GiB are free",)


def test_what_is_not_known_is_not_said(declared: Topology, plans: dict[str, HostPlan]) -> None:
    shown, sentences = with_space(plans, newcomers(declared, plans), {})
    assert (added(shown), sentences) == (added(plans), ())


def test_a_replica_that_is_there_is_no_newcomer(declared: Topology, tmp_path: Path) -> None:
    wanted = deployed.hosts(declared, tmp_path)
    assert newcomers(declared, {name: host_plan(each, deployed.facts(each)) for name, each in wanted.items()}) == ()
