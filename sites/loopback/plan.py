"""Desired state minus facts gives operations. Pure: no host is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry_node.settings import NodeSettings, unchangeable
from sites.hosts import Facts, NodeFacts, NodeState, Operation, Start, Stop, WriteSettings


def bring_up(desired: Mapping[str, NodeSettings], facts: Facts) -> tuple[Operation, ...]:
    """What makes the desired nodes run with the desired settings, and stops those that are no longer declared."""
    operations: list[Operation] = [Stop(name) for name, found in facts.items() if name not in desired and found.runs]
    for node, settings in desired.items():
        operations += _node(node, settings, facts.get(node, NodeFacts(node, NodeState.STOPPED)))
    return tuple(operations)


def _node(node: str, settings: NodeSettings, found: NodeFacts) -> list[Operation]:
    if found.settings == settings:
        return [] if found.runs else [Start(node)]
    if found.runs and found.settings is not None and not unchangeable(found.settings, settings):
        return [WriteSettings(node, settings)]  # it takes them in while it runs
    restart: list[Operation] = [Stop(node)] if found.runs else []
    return [*restart, WriteSettings(node, settings), Start(node)]


def bring_down(nodes: Iterable[str], facts: Facts) -> tuple[Operation, ...]:
    """Stops those of the nodes that run."""
    return tuple(Stop(node) for node in nodes if node in facts and facts[node].runs)
