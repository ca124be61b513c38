"""nginx in a rollout: before the nodes that move behind it, after those that leave it, and back when nobody gets through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from sites.desired.inventory import targets_of
from sites.hosts import HostErrors
from sites.planning.actions import ReloadProxy, Restore, Unit
from sites.planning.facts import UnitFacts
from sites.planning.plan import host_plan
from sites.planning.proxy import with_proxy
from sites.rollout.addresses import check_names, former_url
from sites.rollout.canary import Gate
from sites.rollout.rolling import HostResult, Outcome, Rollout
from sites.rollout.ssh import Lock, SshHosts
from sites.rollout.waves import waves
from tests.sites import deployed
from tests.sites.rollout.test_rolling import AnyGate, Hosts

Change = tuple[str, str]
BEHIND = ("eu-1: {ssh:", "eu-1: {proxy: {method: subdomain, domain: r.example}, ssh:")
OTHER_PORT = ("domain: r.example", "domain: r.example, port: 8443")


async def rolled(
    base: Path, hosts: Hosts, gate: AnyGate, before: Sequence[Change], after: Sequence[Change]
) -> list[HostResult]:
    topology = deployed.topology(base, *after)
    wanted, there = deployed.hosts(topology, base), deployed.hosts(deployed.topology(base, *before), base)
    runs = UnitFacts(LoadState="loaded", ActiveState="active", UnitFileState="enabled")
    plans = {}
    for name, each in wanted.items():
        facts = deployed.facts(there[name], nginx="/usr/sbin/nginx")
        facts = facts.model_copy(update={"units": {**facts.units, "nginx.service": runs}})
        plans[name] = with_proxy(host_plan(each, facts))
    urls = {node: node for each in wanted.values() for node in each.target.nodes}
    locks = {name: Lock("id", 1) for name in plans}
    rollout = Rollout(topology, cast(SshHosts, hosts), plans, urls, cast(Gate, gate), locks, lambda *_: None)
    return await rollout.run(waves(topology, targets_of(topology).values()))


def steps(hosts: Hosts) -> list[str]:
    """What was told to whom on eu-1, in order."""
    told = {ReloadProxy: "nginx", Restore: "back"}
    found = []
    for host, actions in hosts.done:
        for each in actions if host == "eu-1" else ():
            if isinstance(each, Unit) and each.verb == "restart":
                found.append("node")
            elif type(each) in told:
                found.append(told[type(each)])
    return found


@pytest.mark.parametrize(
    ("before", "after", "said"), [([], [BEHIND], ["nginx", "node"]), ([BEHIND], [], ["node", "nginx"])]
)
async def test_nginx_is_there_as_long_as_a_node_is_behind_it(
    tmp_path: Path, before: list[Change], after: list[Change], said: list[str]
) -> None:
    hosts = Hosts({})
    results = await rolled(deployed.folder(tmp_path), hosts, AnyGate(), before, after)
    assert results[0].outcome is Outcome.DONE
    assert steps(hosts) == said


async def test_nodes_that_stay_are_asked_through_the_new_nginx(tmp_path: Path) -> None:
    hosts, gate = Hosts({}), AnyGate()
    results = await rolled(deployed.folder(tmp_path), hosts, gate, [BEHIND], [BEHIND, OTHER_PORT])
    assert (results[0].outcome, steps(hosts), gate.asked) == (Outcome.DONE, ["nginx"], ["sandbox-1"])


async def test_the_former_nginx_comes_back_when_a_node_is_not_reached(tmp_path: Path) -> None:
    hosts = Hosts({})
    results = await rolled(
        deployed.folder(tmp_path), hosts, AnyGate(sick=["sandbox-1"]), [BEHIND], [BEHIND, OTHER_PORT]
    )
    assert results[0].outcome is Outcome.ROLLED_BACK
    assert results[0].error is not None and results[0].error.code == "node-unhealthy"
    assert steps(hosts) == ["nginx", "back", "nginx"]


async def test_a_sister_that_has_not_moved_yet_is_asked_where_it_was(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    both = [BEHIND, ("eu-2: {ssh:", "eu-2: {proxy: {method: subdomain, domain: r.example}, ssh:")]
    topology = deployed.topology(base, *both)
    plan = host_plan(
        deployed.hosts(topology, base)["eu-2"], deployed.facts(deployed.hosts(deployed.topology(base), base)["eu-2"])
    )
    assert former_url(topology, plan, "sandbox-2") == "https://10.1.0.12:5001"
    moved = host_plan(plan.host, deployed.facts(plan.host))
    assert former_url(topology, moved, "sandbox-2") is None


async def test_names_that_lead_nowhere_are_told_together() -> None:
    await check_names({"here": "http://127.0.0.1:5001", "there": "https://localhost"})
    with pytest.raises(HostErrors) as raised:
        await check_names(
            {"a": "https://a.towpath.invalid", "b": "https://b.towpath.invalid", "c": "https://localhost"}
        )
    assert [(each.code, each.where) for each in raised.value.errors] == [
        ("name-unknown", "node a"),
        ("name-unknown", "node b"),
    ]
