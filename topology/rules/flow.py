"""Where images may flow: G1, G5, G9, G10."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import networkx as nx

from topology.findings import Breach
from topology.graph import Flow, Link, Vertex, scope
from topology.model import ExternalNode, ScopeClass, VirtualNode
from topology.rules.subject import Subject

_SINK = Vertex("sink", "prod")


def promotion_cycle(subject: Subject) -> Iterator[Breach]:
    """G1. One finding for each tangle of cycles."""
    for closing, way in _cycles([link for link in subject.links if link.flow is Flow.PROMOTION]):
        message = f"promotion `{closing.label}` closes a cycle: {way}"
        yield Breach(closing.path, message, "an image's standing only rises: remove one edge of the cycle")


def front_cycle(subject: Subject) -> Iterator[Breach]:
    """G9."""
    for closing, way in _cycles([link for link in subject.links if link.flow in (Flow.MEMBER, Flow.UPSTREAM)]):
        message = f"`{closing.target.name}` asks `{closing.source.name}`, which asks it in turn: {way}"
        yield Breach(closing.path, message, f"take `{closing.source.name}` out of `{closing.target.name}`")


def _cycles(links: list[Link]) -> Iterator[tuple[Link, str]]:
    """For each tangle the link that is written last in one of its cycles, and the way around."""
    graph: nx.DiGraph[Vertex] = nx.DiGraph((link.source, link.target) for link in links)
    for component in nx.strongly_connected_components(graph):
        tangle = graph.subgraph(component)
        if tangle.number_of_edges() == 0:
            continue
        cycle = {(edge[0], edge[1]) for edge in nx.find_cycle(tangle)}
        closing = next(link for link in reversed(links) if (link.source, link.target) in cycle)
        yield closing, " -> ".join(vertex.name for vertex in _around(cycle, closing.target))


def _around(cycle: set[tuple[Vertex, Vertex]], start: Vertex) -> list[Vertex]:
    follows = dict(cycle)
    way = [start]
    while len(way) == 1 or way[-1] != start:
        way.append(follows[way[-1]])
    return way


def dev_reaches_prod(subject: Subject) -> Iterator[Breach]:
    """G5. One finding for each dev-class scope, at the first edge of its shortest way."""
    flow = _flow(subject)
    for target in _prod_ends(subject, flow):
        flow.add_edge(target, _SINK)
    if _SINK not in flow:
        return
    next_hop = dict(nx.bfs_predecessors(flow.reverse(copy=False), _SINK))
    for name in subject.scopes_of(ScopeClass.DEV):
        start = scope(name)
        if start in next_hop:
            yield _way_breach(name, _way(start, next_hop), flow)


def _flow(subject: Subject) -> nx.DiGraph[Vertex]:
    """What is in a scope is in its nodes, and what gets into a node is in its scope."""
    flow: nx.DiGraph[Vertex] = nx.DiGraph()
    for link in subject.links:
        if link.source not in subject.graph or link.target not in subject.graph:
            continue
        if not flow.has_edge(link.source, link.target):
            flow.add_edge(link.source, link.target, link=link)
        if link.flow is Flow.HOLDS:
            flow.add_edge(link.target, link.source)
    return flow


def _prod_ends(subject: Subject, flow: nx.DiGraph[Vertex]) -> list[Vertex]:
    """Prod-class scopes, and the virtuals that serve prod images: what else they serve reaches prod's clients."""
    prod = [scope(name) for name in subject.scopes_of(ScopeClass.PROD) if scope(name) in flow]
    serving: nx.DiGraph[Vertex] = nx.DiGraph()
    serving.add_nodes_from(prod)
    for source, target in flow.edges:
        link = flow.edges[source, target].get("link")
        if isinstance(link, Link) and link.flow in (Flow.HOLDS, Flow.MEMBER, Flow.UPSTREAM):
            serving.add_edge(source, target)
    fronts = {vertex for start in prod for vertex in nx.descendants(serving, start)}
    return prod + [vertex for vertex in fronts if isinstance(subject.topology.nodes.get(vertex.name), VirtualNode)]


def _way(start: Vertex, next_hop: dict[Vertex, Vertex]) -> list[Vertex]:
    way = [start]
    while next_hop[way[-1]] != _SINK:
        way.append(next_hop[way[-1]])
    return way


def _way_breach(name: str, way: list[Vertex], flow: nx.DiGraph[Vertex]) -> Breach:
    steps = [flow.edges[edge].get("link") for edge in pairwise(way)]
    moves = [link for link in steps if isinstance(link, Link) and link.flow is not Flow.HOLDS]
    text = " -> ".join([f"`{way[0].name}`", *(_named(link) for link in moves)])
    end = way[-1]
    last = f"prod-class scope `{end.name}`" if end.kind == "scope" else f"`{end.name}`, which serves prod images"
    message = f"images of dev-class scope `{name}` can reach {last}: {text}"
    return Breach(moves[0].path, message, "dev-class scopes lead nowhere: build it again in a ci-class scope")


def _named(link: Link) -> str:
    by = f" ({link.flow} {link.label})" if link.label else f" ({link.flow})"
    return f"`{link.target.name}`{by}"


def into_pull_only(subject: Subject) -> Iterator[Breach]:
    """G10."""
    nodes = subject.topology.nodes
    help = "give it the scope whose images it is to hold, or lead the edge elsewhere"
    for link in subject.links:
        if link.flow is Flow.REPLICATION:
            target = nodes.get(link.target.name)
            if isinstance(target, ExternalNode) and not target.takes_pushes:
                message = f"replication `{link.label}` writes to `{link.target.name}`, which is only ever pulled from"
                yield Breach(link.path, message, help)
    for index, edge in enumerate(subject.topology.promotions):
        for name, member in subject.topology.members_of(edge.target):
            if isinstance(member, ExternalNode) and member.pull_only and member.role == "primary":
                message = f"promotion `{edge.id}` writes to `{name}`, which is only ever pulled from"
                yield Breach(("promotions", index, "to"), message, help)
