"""A rollout over hosts and a gate that do as the test says: what is touched, in which order, and where it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from oci_wire.memory import MemoryRegistry
from registry_node.settings import NodeSettings
from sites.desired import layout
from sites.desired.inventory import targets_of
from sites.hosts import HostError
from sites.planning.actions import Action, PutFile, Remove, Restore, Unit
from sites.planning.facts import Recorded, UnitFacts
from sites.planning.plan import host_plan
from sites.rollout import rolling
from sites.rollout.canary import Gate
from sites.rollout.rolling import HostResult, Outcome, Rollout
from sites.rollout.ssh import Lock, SshHosts
from sites.rollout.waves import waves
from tests.sites import deployed
from topology.model import Topology

SANDBOX_STOP = Unit("stop", "towpath-sandbox-1.service")


class Hosts:
    """``refusing``: hosts that take no change, with the code of their error. ``lasting`` None, or the code with which
    nothing can be brought back."""

    def __init__(self, refusing: dict[str, str], lasting: str | None = None) -> None:
        self.refusing, self.done = refusing, []  # type: tuple[dict[str, str], list[tuple[str, Sequence[Action]]]]
        self.lasting = lasting

    async def apply(self, host: str, actions: Sequence[Action], lock: Lock) -> None:
        self.done.append((host, actions))
        if host in self.refusing:
            raise HostError(self.refusing[host], f"host {host} could not be changed")
        if self.lasting and any(isinstance(each, Restore) or each == SANDBOX_STOP for each in actions):
            raise HostError(self.lasting, f"host {host} could not be changed", why="its disk is full")

    def restarted(self) -> list[str]:
        return [
            each.name
            for _, actions in self.done
            for each in actions
            if isinstance(each, Unit) and each.verb == "restart"
        ]


class AnyGate:
    """``held``: what the nodes hold, by URL; the others nothing."""

    def __init__(self, sick: Sequence[str] = (), silent: Sequence[str] = ()) -> None:
        self.sick, self.silent, self.asked = sick, silent, []  # type: tuple[Sequence[str], Sequence[str], list[str]]
        self.held: dict[str, MemoryRegistry] = {}

    @asynccontextmanager
    async def registry(self, url: str) -> AsyncIterator[MemoryRegistry]:
        yield self.held.get(url) or MemoryRegistry()

    async def check(self, node: str, url: str, settings: NodeSettings) -> None:
        self.asked.append(node)
        if node in self.sick:
            raise HostError("node-unhealthy", f"node {node} does not do its work")

    async def serves(self, url: str) -> bool:
        return url not in self.silent


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


async def rolled(
    base: Path,
    hosts: Hosts,
    gate: AnyGate,
    *changes: tuple[str, str],
    fresh: bool = False,
    release: str = "f" * 16,
    stopped: str = "",
    said: list[str] | None = None,
    patience: float = 0.0,
) -> tuple[list[HostResult], Topology]:
    """An upgrade of every node to another release; ``fresh``: on empty machines; ``stopped``: a host
    whose nodes do not run; ``said``: what it was told meanwhile."""
    topology = deployed.topology(base, *changes)
    wanted, there = deployed.hosts(topology, base, release=release), deployed.hosts(topology, base)
    facts = {name: deployed.facts(None if fresh else there[name]) for name in wanted}
    if stopped:
        units = {name: each.model_copy(update={"active": "inactive"}) for name, each in facts[stopped].units.items()}
        facts[stopped] = facts[stopped].model_copy(update={"units": units})
    plans = {name: host_plan(each, facts[name]) for name, each in wanted.items()}
    urls = {node: node for each in wanted.values() for node in each.target.nodes}
    locks = {name: Lock("id", 1) for name in plans}
    told: list[str] = [] if said is None else said

    def watch(host: str, line: str) -> None:
        told.append(f"{host}: {line}")

    rollout = Rollout(topology, cast(SshHosts, hosts), plans, urls, cast(Gate, gate), locks, watch, patience)
    return await rollout.run(waves(topology, targets_of(topology).values())), topology


def outcomes(results: list[HostResult]) -> dict[str, Outcome]:
    return {each.host: each.outcome for each in results}


async def test_all_is_prepared_then_one_node_after_the_other(base: Path) -> None:
    hosts, gate = Hosts({}), AnyGate()
    results, _ = await rolled(base, hosts, gate)
    assert outcomes(results) == {"eu-1": Outcome.DONE, "eu-2": Outcome.DONE}
    assert {host for host, _ in hosts.done[:2]} == {"eu-1", "eu-2"}
    assert gate.asked == ["sandbox-1", "sandbox-2", "ci-2", "hub-2", "all-2"]
    assert [each.removeprefix("towpath-").removesuffix(".service") for each in hosts.restarted()] == gate.asked


async def test_nothing_that_runs_is_touched_when_a_host_cannot_be_prepared(base: Path) -> None:
    hosts = Hosts({"eu-2": "host-change-failed"})
    results, _ = await rolled(base, hosts, AnyGate())
    assert outcomes(results) == {"eu-1": Outcome.NOT_REACHED, "eu-2": Outcome.FAILED}
    assert hosts.restarted() == []


async def test_a_sick_node_gets_back_what_it_had_and_the_rest_is_not_reached(base: Path) -> None:
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, AnyGate(sick=["sandbox-1"]))
    assert outcomes(results) == {"eu-1": Outcome.ROLLED_BACK, "eu-2": Outcome.NOT_REACHED}
    last = hosts.done[-1]
    assert last[0] == "eu-1" and isinstance(last[1][0], Restore)
    assert hosts.restarted() == ["towpath-sandbox-1.service"] * 2


async def test_a_sick_node_that_is_new_is_stopped(base: Path) -> None:
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, AnyGate(sick=["sandbox-1"]), fresh=True)
    assert outcomes(results)["eu-1"] is Outcome.FAILED
    assert hosts.done[-1][1] == (Unit("stop", "towpath-sandbox-1.service"),)
    assert results[0].error is not None
    assert results[0].error.what.endswith("it was stopped, as it has never passed its health gate here")


@pytest.mark.parametrize(
    ("code", "fresh", "said"),
    [
        ("host-change-failed", False, "what it had before does not run either: the node is down"),
        ("host-lost", False, "what it had before could not be brought back"),
        ("host-change-failed", True, "it could not be stopped"),
    ],
)
async def test_a_way_back_that_fails_is_told(base: Path, code: str, fresh: bool, said: str) -> None:
    results, _ = await rolled(base, Hosts({}, lasting=code), AnyGate(sick=["sandbox-1"]), fresh=fresh)
    assert outcomes(results)["eu-1"] is Outcome.FAILED
    error = results[0].error
    assert error is not None and error.code == "node-unhealthy"
    assert error.what == f"node sandbox-1 does not do its work, and {said}"
    assert "host eu-1 could not be changed: its disk is full" in error.why


async def test_a_node_is_on_trial_until_it_has_passed_its_gate(base: Path) -> None:
    """A run that is cut before that leaves the mark, and the next one goes on with this node."""
    hosts, mark = Hosts({}), Remove("/etc/towpath/sandbox-1/pending")
    lifted: list[bool] = []

    class Seeing(AnyGate):
        async def check(self, node: str, url: str, settings: NodeSettings) -> None:
            lifted.append(any(mark in actions for _, actions in hosts.done))

    results, _ = await rolled(base, hosts, Seeing())
    assert set(outcomes(results).values()) == {Outcome.DONE}
    assert lifted == [False, True, True, True, True], "its own check comes first"
    (settled,) = [actions for _, actions in hosts.done if mark in actions]
    assert settled[0] == mark, "before the inventory says that all is there"


class Counting(AnyGate):
    """Knows how many nodes had been started when it was asked for each."""

    def __init__(self, hosts: Hosts, sick: Sequence[str] = ()) -> None:
        super().__init__(sick)
        self.hosts, self.started = hosts, {}  # type: tuple[Hosts, dict[str, int]]

    async def check(self, node: str, url: str, settings: NodeSettings) -> None:
        await asyncio.sleep(0)  # whatever is started at once is started now
        self.started[node] = len(self.hosts.restarted())
        await super().check(node, url, settings)


@pytest.mark.parametrize(("fresh", "counts"), [(True, [1, 3, 3, 4, 5]), (False, [1, 2, 3, 4, 5])])
async def test_where_nothing_runs_nodes_start_at_once_behind_one_that_passed(
    base: Path, fresh: bool, counts: list[int]
) -> None:
    """Those that read the others' data come after them."""
    hosts = Hosts({})
    gate = Counting(hosts)
    results, _ = await rolled(base, hosts, gate, fresh=fresh)
    assert set(outcomes(results).values()) == {Outcome.DONE}
    assert gate.started == dict(zip(["sandbox-1", "sandbox-2", "ci-2", "hub-2", "all-2"], counts, strict=True))


async def test_of_nodes_that_start_at_once_each_passes_or_is_stopped_by_itself(base: Path) -> None:
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, Counting(hosts, sick=["sandbox-2"]), fresh=True)
    assert outcomes(results) == {"eu-1": Outcome.DONE, "eu-2": Outcome.FAILED}
    assert results[1].error is not None and "node sandbox-2 does not do its work" in results[1].error.what
    done = [action for _, actions in hosts.done for action in actions]
    assert Unit("stop", "towpath-sandbox-2.service") in done
    assert Remove("/etc/towpath/ci-2/pending") in done and Remove("/etc/towpath/sandbox-2/pending") not in done
    assert "towpath-hub-2.service" not in hosts.restarted(), "what comes after them is not reached"


async def test_of_several_that_fail_at_once_each_is_told(base: Path) -> None:
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, Counting(hosts, sick=["sandbox-2", "ci-2"]), fresh=True)
    error = results[1].error
    assert error is not None and "sandbox-2" in error.what and "node ci-2 does not do its work" in error.why


async def test_no_more_start_at_once_than_one_connection_carries(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "AT_ONCE", 1)
    hosts = Hosts({})
    gate = Counting(hosts)
    await rolled(base, hosts, gate, fresh=True)
    assert list(gate.started.values()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("lost", "outcome"), [(None, Outcome.ROLLED_BACK), ("ci-2", Outcome.FAILED)])
async def test_a_host_went_back_when_each_node_that_failed_did(base: Path, lost: str | None, outcome: Outcome) -> None:
    """Nodes that were stopped by hand, on their way to another release."""

    class Losing(Hosts):
        async def apply(self, host: str, actions: Sequence[Action], lock: Lock) -> None:
            await super().apply(host, actions, lock)
            if lost and any(isinstance(each, Restore) and f"/{lost}" in str(each) for each in actions):
                raise HostError("host-change-failed", f"host {host} could not be changed")

    hosts = Losing({})
    gate = Counting(hosts, sick=["sandbox-2", "ci-2"])
    results, _ = await rolled(base, hosts, gate, stopped="eu-2")
    assert {"sandbox-2", "ci-2"} <= set(gate.asked), "at once"
    assert outcomes(results)["eu-2"] is outcome


def test_a_host_is_idle_as_long_as_no_node_runs_there(base: Path) -> None:
    there = deployed.hosts(deployed.topology(base), base)["eu-1"]
    running, stopped = UnitFacts(active="active"), UnitFacts(active="inactive")
    laid = Recorded(units={"towpath-gone.service": "gone"})
    for units, idle in (
        ({}, True),
        ({layout.FIREWALL_UNIT: running, layout.NGINX_UNIT: running}, True),
        ({"towpath-sandbox-1.service": stopped}, True),
        ({"towpath-sandbox-1.service": running}, False),
        ({"towpath-sandbox-1.service": UnitFacts(active="activating")}, False),
        ({"towpath-gone.service": running}, False),
    ):
        facts = deployed.facts().model_copy(update={"units": units, "inventory": laid})
        assert host_plan(there, facts).idle is idle, units


async def test_a_node_whose_sister_is_silent_is_left_alone(base: Path) -> None:
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, AnyGate(silent=["sandbox-2"]))
    assert outcomes(results) == {"eu-1": Outcome.FAILED, "eu-2": Outcome.NOT_REACHED}
    assert results[0].error is not None and results[0].error.code == "promise-at-risk"
    assert hosts.restarted() == []


async def test_hosts_that_are_right_are_not_asked(base: Path) -> None:
    hosts: Any = Hosts({"eu-1": "must-not-be-called", "eu-2": "must-not-be-called"})
    results, _ = await rolled(base, hosts, AnyGate(), release=deployed.RELEASE)
    assert set(outcomes(results).values()) == {Outcome.UNCHANGED}
    assert hosts.done == []


def test_the_inventory_is_written_last(base: Path) -> None:
    plan = host_plan(deployed.hosts(deployed.topology(base), base)["eu-1"], deployed.facts())
    (inventory,) = plan.finish
    assert isinstance(inventory, PutFile) and inventory.wanted.path == "/etc/towpath/inventory.json"
