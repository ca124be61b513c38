"""The topology as a graph: scopes and nodes are vertices; promotions, replications, upstreams and members are edges.

Images flow along the edges. A name that is not declared makes no edge (references have said so already).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

import networkx as nx

from topology.model import ExternalNode, LocalNode, MirrorNode, Topology, VirtualNode

Path = tuple[str | int, ...]


class Vertex(NamedTuple):
    kind: str  # scope | node
    name: str


class Flow(StrEnum):
    """How images get from one vertex to the next."""

    HOLDS = "holds"  # scope -> each of its nodes
    PROMOTION = "promotion"
    REPLICATION = "replication"
    UPSTREAM = "upstream"  # upstream -> mirror
    MEMBER = "member"  # member -> virtual


class Link(NamedTuple):
    source: Vertex
    target: Vertex
    flow: Flow
    label: str  # the edge's id, or ""
    path: Path  # where it is written


def scope(name: str) -> Vertex:
    return Vertex("scope", name)


def node(name: str) -> Vertex:
    return Vertex("node", name)


def build(topology: Topology) -> nx.MultiDiGraph[Vertex]:
    """Vertices carry ``declared`` (the model); edges carry ``flow``, ``label`` and ``path`` (in the file)."""
    graph: nx.MultiDiGraph[Vertex] = nx.MultiDiGraph(name=topology.metadata.name)
    for name, each in topology.scopes.items():
        graph.add_node(scope(name), declared=each)
    for name, every in topology.nodes.items():
        graph.add_node(node(name), declared=every)
    for link in links(topology):
        if link.source in graph and link.target in graph:
            graph.add_edge(link.source, link.target, flow=link.flow, label=link.label, path=link.path)
    return graph


def links(topology: Topology) -> Iterator[Link]:
    """Every edge as it is written, also to names that are not declared."""
    for name, each in topology.nodes.items():
        yield from _links_of(name, each)
    for index, edge in enumerate(topology.promotions):
        yield Link(scope(edge.source), scope(edge.target), Flow.PROMOTION, edge.id, ("promotions", index, "to"))
    for index, replication in enumerate(topology.replications):
        for number, target in enumerate(replication.targets):
            path: Path = ("replications", index, "to", number)
            yield Link(node(replication.source), node(target), Flow.REPLICATION, replication.id, path)


def _links_of(name: str, declared: Any) -> Iterator[Link]:
    match declared:
        case LocalNode() | ExternalNode() if declared.scope:
            yield Link(scope(declared.scope), node(name), Flow.HOLDS, "", ("nodes", name, "scope"))
        case MirrorNode():
            for index, upstream in enumerate(declared.sources):
                yield Link(node(upstream), node(name), Flow.UPSTREAM, "", ("nodes", name, "upstreams", index))
        case VirtualNode():
            for index, member in enumerate(declared.members):
                yield Link(node(member), node(name), Flow.MEMBER, "", ("nodes", name, "members", index))
