"""Whether a new replica fits on its host: what its primary holds against what is free there. Pure.

What the primary holds is counted on its disk, index and what no tag reaches included: the replica needs no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from sites.planning.host_plan import ADD, HostPlan, NodePlan, Row
from topology.model import LocalNode, Role, Topology
from topology.sizes import binary

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A replica that a plan adds. ``source``: the primary of its scope; ``source_host`` "": it stands on no host of
    ours."""

    node: str
    host: str
    source: str
    source_host: str


def newcomers(topology: Topology, plans: Mapping[str, HostPlan]) -> tuple[Newcomer, ...]:
    found = []
    for host, plan in plans.items():
        for each in plan.nodes:
            declared = topology.nodes[each.node.name]
            if _added(each) and isinstance(declared, LocalNode) and declared.role is Role.REPLICA:
                source = topology.primary_name(declared.scope)
                found.append(Newcomer(each.node.name, host, source, getattr(topology.nodes[source], "host", "")))
    return tuple(found)


def with_space(
    plans: Mapping[str, HostPlan],
    new: tuple[Newcomer, ...],
    held: Mapping[str, int],
    unknown: Mapping[str, str] = _NONE,
) -> tuple[dict[str, HostPlan], tuple[str, ...]]:
    """The plans whose rows of new replicas say what they need and what is free; and a sentence for each host on which
    they do not fit together. ``held``: bytes by primary, as far as they are known; ``unknown``: why they are not."""
    shown = dict(plans)
    sentences: list[str] = []
    for host, plan in plans.items():
        mine = [each for each in new if each.host == host]
        free = binary(plan.facts.disk.free)
        told = {each.node: f", needs {binary(held[each.source])}, {free} free" for each in mine if each.source in held}
        told |= {
            each.node: f", size unknown ({unknown[each.source]}), {free} free"
            for each in mine
            if each.source in unknown
        }
        shown[host] = replace(plan, nodes=tuple(_told(each, told) for each in plan.nodes)) if told else plan
        sentences += _misfit(host, plan.facts.disk.free, [each for each in mine if each.source in held], held)
    return shown, tuple(sentences)


def _misfit(host: str, free: int, new: list[Newcomer], held: Mapping[str, int]) -> Iterator[str]:
    needed = sum(held[each.source] for each in new)
    if needed > free:
        names = ", ".join(each.node for each in new)
        figures = f"{binary(needed)} are held by what they copy, {binary(free)} are free"
        yield f"{names} may not fit on {host}: {figures}"


def _told(plan: NodePlan, told: Mapping[str, str]) -> NodePlan:
    said = told.get(plan.node.name)
    return replace(plan, rows=tuple(_row(each, said) for each in plan.rows)) if said else plan


def _row(row: Row, said: str) -> Row:
    return replace(row, change=row.change + said) if _adds_node(row) else row


def _added(plan: NodePlan) -> bool:
    return any(map(_adds_node, plan.rows))


def _adds_node(row: Row) -> bool:
    return (row.sign, row.operation) == (ADD, "node")
