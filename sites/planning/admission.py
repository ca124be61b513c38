"""Whether a host may be changed: its nodes are of this topology; and its firewall be laid down: nft is there, and it would
not shut out the machine where apply runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sites.desired import layout
from sites.desired.firewall import lets_in
from sites.desired.hosts import DesiredHost
from sites.hosts import HostError
from sites.planning.facts import HostFacts
from sites.planning.records import nodes_of


def of_others(name: str, topology: str, facts: HostFacts, known: Collection[str]) -> Iterator[HostError]:
    """Why not, when another topology's nodes are there: they would be taken for nodes that left this one. Where no record
    says whose they are, one of them must be ``known``: the topology has it, or the last apply did."""
    theirs = facts.inventory.topology if facts.inventory else ""
    if theirs and theirs != topology:
        yield HostError(
            "host-of-another-topology",
            f"host {name} has nodes of topology {theirs}; nothing was changed",
            where=f"{layout.INVENTORY} on it",
            why=f"a host is of one topology; {topology} would remove the nodes that it does not name",
            next=f"give another host; or, if {topology} has left it: towpath apply --forget {name}; or, if {theirs} is this "
            f"topology's former name: write {topology} there",
        )
    there = nodes_of(facts)
    if not theirs and there and not there & set(known):
        yield HostError(
            "host-of-unknown-topology",
            f"host {name} has nodes that {topology} does not know: {', '.join(sorted(there))}; nothing was changed",
            where=f"{layout.INVENTORY} on it, which does not say whose they are",
            why=f"they may be another topology's; {topology} would remove them",
            next=f"give another host; or, if they are nodes that left {topology}: towpath import {name} --adopt",
        )


def objections(host: DesiredHost, facts: HostFacts) -> Iterator[HostError]:
    """Why not, before anything is changed. Nothing for a host without a firewall."""
    if host.admitted is None:
        return
    name, where = host.target.name, f"sites.{host.target.site}.hosts.{host.target.name}"
    if facts.table is None:
        yield HostError(
            "firewall-without-nft",
            f"host {name} has no nft",
            where=where,
            why="the topology declares a firewall there, and that is a table of nftables",
            next="install it there (Debian: apt-get install nftables), or take `firewall` out of the topology",
        )
    if facts.asked_from and not lets_in(host.admitted, facts.asked_from):
        yield HostError(
            "firewall-shuts-us-out",
            f"the firewall of host {name} would shut out this machine",
            where=where,
            why=f"the host sees us as {facts.asked_from}; ssh would go on, but no node could be asked whether it serves, "
            "and no promotion or replication would get there",
            next=f"add {facts.asked_from} or its network to `firewall.allow`",
        )
    for node in host.nodes:
        if node.unit == layout.FIREWALL_UNIT:
            yield HostError(
                "unit-name-taken",
                f"node {node.name} and the firewall of host {name} would be one unit, {node.unit}",
                where=f"nodes.{node.name}",
                next="rename the node",
            )
