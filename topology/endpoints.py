"""The address that clients use for a scope at a site: the node that the scope's ``endpoint`` names there.

Written ``SCOPE@SITE``. A virtual over the scope's nodes goes on giving images while one of them is down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from topology.model import LocalNode, Topology, VirtualNode


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``node`` answers; ``behind``: the scope's nodes that stand behind it, in the order in which they are asked (the node
    itself, when it is one of them)."""

    scope: str
    site: str
    node: str
    behind: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.scope}@{self.site}"


def endpoints(topology: Topology) -> tuple[Endpoint, ...]:
    """Those that are declared, in the order of the file."""
    return tuple(
        Endpoint(scope, site, node, _behind(topology, scope, node))
        for scope, declared in topology.scopes.items()
        for site, node in declared.endpoint.items()
    )


def endpoint_at(topology: Topology, scope: str, site: str) -> Endpoint:
    """The declared one, or the only node of the scope there. Raises LookupError with what is missing, as a sentence."""
    declared = topology.scopes[scope].endpoint.get(site)
    if declared is not None:
        return Endpoint(scope, site, declared, _behind(topology, scope, declared))
    here = local_nodes(topology, scope, site)
    if len(here) == 1:
        return Endpoint(scope, site, here[0], here)
    if not here:
        raise LookupError(f"scope {scope} has no node at {site}")
    raise LookupError(f"scope {scope} has {len(here)} nodes at {site} and says no endpoint: {', '.join(here)}")


def local_nodes(topology: Topology, scope: str, site: str) -> tuple[str, ...]:
    """Our nodes of a scope at a site."""
    members = topology.members_of(scope)
    return tuple(name for name, node in members if isinstance(node, LocalNode) and node.site == site)


def stood_for(topology: Topology) -> dict[str, str]:
    """Node -> the endpoint's node that clients of its site use in its place."""
    return {
        each: found.node
        for found in endpoints(topology)
        for each in local_nodes(topology, found.scope, found.site)
        if each != found.node
    }


def _behind(topology: Topology, scope: str, node: str) -> tuple[str, ...]:
    return tuple(each for each in _asked(topology, node) if getattr(topology.nodes.get(each), "scope", None) == scope)


def _asked(topology: Topology, node: str) -> Iterator[str]:
    declared = topology.nodes.get(node)
    yield from declared.members if isinstance(declared, VirtualNode) else (node,)
