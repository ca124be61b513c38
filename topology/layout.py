"""Where the boxes and arrows of a drawing stand: columns by how far images have come. Pure geometry, in pixels."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import networkx as nx

from topology.graph import Flow, Link, Vertex, links, scope
from topology.model import ExternalNode, LocalNode, Topology

BOX_WIDTH, GAP_X, GAP_Y, MARGIN = 220, 150, 36, 30
HEADER, ROW = 46, 24


@dataclass(frozen=True, slots=True)
class Row:
    """One node inside its scope's box."""

    name: str
    note: str


@dataclass(frozen=True, slots=True)
class Box:
    """A scope with its nodes, or a node that belongs to no scope. ``look``: the scope's class, or the node's kind."""

    title: str
    note: str
    look: str
    rows: tuple[Row, ...]
    x: int
    y: int

    @property
    def height(self) -> int:
        return HEADER + ROW * len(self.rows) + (8 if self.rows else 0)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class Arrow:
    look: str
    label: str
    path: str
    label_x: int
    label_y: int
    inside: bool = False  # within one box


@dataclass(frozen=True, slots=True)
class Drawing:
    name: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def arrange(topology: Topology) -> Drawing:
    flows = _between_boxes(topology)
    boxes = _place(topology, columns(topology), flows)
    arrows = [_arrow(boxes[start], boxes[end], together) for (start, end), together in flows.items()]
    arrows += _inside(topology, boxes)
    width = max((box.x + BOX_WIDTH for box in boxes.values()), default=0) + MARGIN
    height = max((box.y + box.height for box in boxes.values()), default=0) + MARGIN
    return Drawing(topology.metadata.name, max(width, 240), max(height, 80), tuple(boxes.values()), tuple(arrows))


def _home(topology: Topology, vertex: Vertex) -> Vertex:
    """The box that a vertex is drawn in: a node of a scope stands in the scope's."""
    owner = getattr(topology.nodes.get(vertex.name), "scope", None) if vertex.kind == "node" else None
    return scope(owner) if owner in topology.scopes else vertex


def _vertices(topology: Topology) -> list[Vertex]:
    homes = [_home(topology, Vertex("node", name)) for name in topology.nodes]
    return list(dict.fromkeys([*(scope(name) for name in topology.scopes), *homes]))


def _between_boxes(topology: Topology) -> dict[tuple[Vertex, Vertex], list[Link]]:
    known = set(_vertices(topology))
    found: dict[tuple[Vertex, Vertex], list[Link]] = defaultdict(list)
    for link in links(topology):
        start, end = _home(topology, link.source), _home(topology, link.target)
        if start != end and {start, end} <= known:
            found[start, end].append(link)
    return found


def columns(topology: Topology) -> list[list[Vertex]]:
    """Scopes, and the nodes of no scope, by how far images have come; a cycle (rule G1 refuses it) shares one column."""
    graph: nx.DiGraph[Vertex] = nx.DiGraph()
    graph.add_nodes_from(_vertices(topology))
    graph.add_edges_from(_between_boxes(topology))
    condensed = nx.condensation(graph)
    members = nx.get_node_attributes(condensed, "members")
    order = {vertex: number for number, vertex in enumerate(graph)}
    generations = nx.topological_generations(condensed)
    return [sorted((each for one in column for each in members[one]), key=order.__getitem__) for column in generations]


def _place(
    topology: Topology, columns: list[list[Vertex]], flows: dict[tuple[Vertex, Vertex], list[Link]]
) -> dict[Vertex, Box]:
    """Each column from the top, in the order of where its images come from."""
    before: dict[Vertex, list[Vertex]] = defaultdict(list)
    for start, end in flows:
        before[end].append(start)
    boxes: dict[Vertex, Box] = {}
    for number, column in enumerate(columns):
        y = MARGIN
        for vertex in sorted(
            column, key=lambda each: _mean([boxes[one].middle for one in before[each] if one in boxes])
        ):
            box = _box(topology, vertex, MARGIN + number * (BOX_WIDTH + GAP_X), y)
            boxes[vertex] = box
            y += box.height + GAP_Y
    return boxes


def _mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _box(topology: Topology, vertex: Vertex, x: int, y: int) -> Box:
    if vertex.kind == "node":
        node = topology.nodes[vertex.name]
        return Box(vertex.name, f"{node.kind} {getattr(node, 'site', '')}".strip(), node.kind, (), x, y)
    declared = topology.scopes[vertex.name]
    rows = tuple(Row(name, _row_note(node)) for name, node in topology.members_of(vertex.name))
    note = f"{declared.class_}, {declared.write}" + (", protected" if declared.protect else "")
    return Box(vertex.name, note, str(declared.class_), rows, x, y)


def _row_note(node: LocalNode | ExternalNode) -> str:
    place = node.site if isinstance(node, LocalNode) else "external"
    return f"{place} {node.role}"


def _arrow(start: Box, end: Box, together: list[Link]) -> Arrow:
    x1, y1, x2, y2 = start.x + BOX_WIDTH, start.middle, end.x, end.middle
    if x2 < x1:  # back, or within one column (a cycle): around below
        low = max(start.y + start.height, end.y + end.height) + GAP_Y // 2
        path = f"M{x1},{y1} C{x1 + 60},{low} {x2 - 60},{low} {x2},{y2}"
    else:
        bend = (x2 - x1) // 2
        path = f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"
    looks = {link.flow for link in together}
    look = next(flow for flow in (Flow.PROMOTION, Flow.REPLICATION, Flow.UPSTREAM, Flow.MEMBER) if flow in looks)
    label = ", ".join(dict.fromkeys(link.label for link in together if link.label))
    return Arrow(str(look), label, path, (x1 + x2) // 2, (y1 + y2) // 2 - 6)


def _inside(topology: Topology, boxes: dict[Vertex, Box]) -> list[Arrow]:
    """Replications between the nodes of one scope: arcs along the right side of its box."""
    found = []
    for link in links(topology):
        box = boxes.get(_home(topology, link.source))
        if link.flow is Flow.REPLICATION and box is not None and box is boxes.get(_home(topology, link.target)):
            heights = {row.name: box.y + HEADER + number * ROW + 10 for number, row in enumerate(box.rows)}
            start, end = heights[link.source.name], heights[link.target.name]
            edge, reach = box.x + BOX_WIDTH - 8, box.x + BOX_WIDTH + 14 + abs(end - start) // 3
            path = f"M{edge},{start} C{reach},{start} {reach},{end} {edge},{end}"
            found.append(Arrow(str(link.flow), "", path, reach, start, inside=True))
    return found
