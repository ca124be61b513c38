"""The order of hosts: a canary first, primaries last, never two nodes of one scope at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.desired.inventory import targets_of
from sites.rollout.waves import scopes_on, waves
from topology.load import loads
from topology.model import Topology


def declared(hosts: dict[str, tuple[str, str]], nodes: dict[str, tuple[str, str, str]]) -> Topology:
    """``hosts``: name -> site, failure domain; ``nodes``: name -> scope, role, host."""
    sites: dict[str, list[str]] = {}
    for name, (site, domain) in hosts.items():
        sites.setdefault(site, []).append(f"{name}: {{ssh: h@10.0.0.{len(sites)}{len(name)}, failureDomain: {domain}}}")
    scopes = sorted({scope for scope, _, _ in nodes.values()})
    lines = ["apiVersion: towpath/v1", "kind: Topology", "metadata: {name: waves}", "sites:"]
    lines += [f"  {site}: {{hosts: {{{', '.join(each)}}}}}" for site, each in sites.items()]
    lines += ["scopes:", *(f"  {each}: {{class: archive, write: read-only}}" for each in scopes), "nodes:"]
    for port, (name, (scope, role, host)) in enumerate(nodes.items(), start=5000):
        where = f"site: {hosts[host][0]}, host: {host}, port: {port}"
        lines.append(f"  {name}: {{kind: local, scope: {scope}, role: {role}, {where}}}")
    loaded = loads("\n".join(lines), base=Path(), rules=False)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def named(topology: Topology) -> list[list[str]]:
    return [[each.name for each in wave] for wave in waves(topology, targets_of(topology).values())]


def test_replicas_before_their_primary_one_after_the_other() -> None:
    hosts = {"eu-1": ("eu", "a"), "eu-2": ("eu", "b"), "us-1": ("us", "a"), "us-2": ("us", "b")}
    nodes = {
        "p1": ("prod", "primary", "eu-1"),
        "p2": ("prod", "replica", "eu-2"),
        "p3": ("prod", "replica", "us-1"),
        "p4": ("prod", "replica", "us-2"),
    }
    assert named(declared(hosts, nodes)) == [["eu-2"], ["us-1"], ["us-2"], ["eu-1"]]


def test_hosts_of_one_failure_domain_without_a_scope_in_common_go_together() -> None:
    hosts = {"a": ("eu", "x"), "b": ("eu", "x"), "c": ("eu", "x"), "d": ("eu", "y")}
    nodes = {
        "one": ("s1", "replica", "a"),
        "two": ("s2", "replica", "b"),
        "three": ("s3", "replica", "c"),
        "four": ("s4", "replica", "d"),
    }
    assert named(declared(hosts, nodes)) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("number", [1, 5, 40])
def test_no_wave_ever_takes_two_nodes_of_one_scope(number: int) -> None:
    hosts = {f"h{at}": (f"s{at % 3}", f"d{at % 4}") for at in range(number)}
    nodes = {
        f"n{at}-{scope}": (f"scope{scope % 7}", "primary" if at == 0 else "replica", f"h{at}")
        for at in range(number)
        for scope in (at, at + 3)
    }
    topology = declared(hosts, nodes)
    targets = targets_of(topology)
    found = waves(topology, targets.values())
    assert sorted(each.name for wave in found for each in wave) == sorted(targets)
    for wave in found:
        held = [scope for each in wave for scope in scopes_on(topology, each)]
        assert len(held) == len(set(held))


def test_hosts_on_which_nothing_runs_go_at_once_behind_the_canary() -> None:
    hosts = {"eu-1": ("eu", "a"), "eu-2": ("eu", "b"), "us-1": ("us", "a"), "us-2": ("us", "b")}
    nodes = {f"p{at}": ("prod", "primary" if at == 0 else "replica", host) for at, host in enumerate(hosts)}
    topology = declared(hosts, nodes)
    found = waves(topology, targets_of(topology).values(), idle=["eu-1", "us-1", "us-2"])
    assert [[each.name for each in wave] for wave in found] == [["eu-2"], ["us-1", "us-2", "eu-1"]]


def test_nothing_to_order() -> None:
    assert waves(declared({"a": ("eu", "x")}, {"one": ("s1", "replica", "a")}), []) == ()
