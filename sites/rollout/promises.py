"""What a rollout must not break: while one node of a scope restarts, enough of its sisters serve. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from topology.model import LocalNode, Topology


@dataclass(frozen=True, slots=True)
class Promise:
    """``sisters``: the scope's other nodes of ours and the failure domain of each, which are told apart by site.
    ``domains``: in how many of them some must serve meanwhile."""

    scope: str
    sisters: Mapping[str, tuple[str, str]]
    domains: int

    def missing(self, serving: Collection[str]) -> int:
        """How many failure domains are too few when these nodes serve."""
        there = {domain for name, domain in self.sisters.items() if name in serving}
        return max(0, self.domains - len(there))


def promise_of(topology: Topology, node: str) -> Promise | None:
    """None: the node stands alone, or holds nothing; its restart interrupts service, as it must.

    A scope whose SLA asks for several failure domains keeps all but one of them; any other scope with sisters keeps
    one. No more than its sisters stand in can be asked for."""
    declared = topology.nodes[node]
    if not isinstance(declared, LocalNode):
        return None
    sisters = {
        name: _domain(topology, each)
        for name, each in topology.members_of(declared.scope)
        if name != node and isinstance(each, LocalNode) and _host(each) != _host(declared)
    }
    if not sisters:
        return None
    sla = topology.slas.get(topology.scopes[declared.scope].sla or "")
    asked = max(1, sla.min_failure_domains - 1) if sla else 1
    return Promise(declared.scope, sisters, min(asked, len(set(sisters.values()))))


def _domain(topology: Topology, node: LocalNode) -> tuple[str, str]:
    return node.site, topology.sites[node.site].hosts[node.host].failure_domain or node.host


def _host(node: LocalNode) -> tuple[str, str]:
    return node.site, node.host
