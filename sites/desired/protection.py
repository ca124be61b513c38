"""``protect`` of nodes and scopes, and how long the data of a removed node is kept. Pure.

Protection is remembered where the node is (the host's inventory) and where it was applied from (the state folder): to
delete the line, or the node, does not lift it. To write ``protect: false`` and apply that does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

from topology.model import LocalNode, Topology

BY = ("node", "scope")
TRASH_TERM = timedelta(days=30)


def said(topology: Topology, name: str) -> dict[str, bool]:
    """By what the topology says it of a node: ``{"node": True, "scope": False}``; what says nothing is left out."""
    node = topology.nodes[name]
    scope = topology.scopes[node.scope] if isinstance(node, LocalNode) else None
    declared = {"node": node, "scope": scope}
    return {
        by: bool(getattr(each, "protect", False))
        for by, each in declared.items()
        if each is not None and "protect" in each.model_fields_set
    }


def remembered(now: Mapping[str, bool], before: Collection[str]) -> tuple[str, ...]:
    """By what a node is protected, when the topology says ``now`` and it was protected by ``before``."""
    return tuple(by for by in BY if now.get(by, by in before))


def trash_term(topology: Topology, name: str) -> timedelta:
    """As long as its scope's cleanup keeps what went, and 30 days where nothing is said."""
    node = topology.nodes[name]
    cleanup = topology.scopes[node.scope].cleanup if isinstance(node, LocalNode) else None
    return (cleanup.trash if cleanup else None) or TRASH_TERM
