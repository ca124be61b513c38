"""Drawings: whole, escaped, and the same edges in each form."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from topology import draw
from topology.graph import Flow, build, node, scope
from topology.layout import arrange, columns
from topology.load import load, loads
from topology.model import Topology

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=["acme", "quickstart"])
def topology(request: pytest.FixtureRequest) -> Topology:
    return load(EXAMPLES / request.param / "topology.yaml").valid


def test_every_declared_thing_is_drawn(topology: Topology) -> None:
    edges = [edge.id for edge in topology.promotions]
    for drawing in (draw.text(topology), draw.mermaid(topology), draw.svg(topology)):
        assert [name for name in (*topology.scopes, *topology.nodes, *edges) if name not in drawing] == []


def test_boxes_do_not_overlap_and_lie_on_the_page(topology: Topology) -> None:
    drawing = arrange(topology)
    for number, box in enumerate(drawing.boxes):
        assert 0 <= box.x < drawing.width
        assert box.y + box.height <= drawing.height
        for other in drawing.boxes[number + 1 :]:
            assert box.x != other.x or box.y + box.height <= other.y or other.y + other.height <= box.y


def test_images_flow_to_the_right(topology: Topology) -> None:
    column = {vertex: number for number, column in enumerate(columns(topology)) for vertex in column}
    assert all(column[scope(edge.source)] < column[scope(edge.target)] for edge in topology.promotions)


def test_the_graph_has_the_declared_edges() -> None:
    graph = build(load(EXAMPLES / "quickstart" / "topology.yaml").valid)
    flows = {(source, target, data["flow"], data["label"]) for source, target, data in graph.edges(data=True)}
    assert (scope("ci-pool"), scope("prod"), Flow.PROMOTION, "to-prod") in flows
    assert (node("prod-eu"), node("prod-us"), Flow.REPLICATION, "prod-everywhere") in flows
    assert (scope("prod"), node("prod-us"), Flow.HOLDS, "") in flows
    assert graph.number_of_nodes() == 9


def test_svg_is_well_formed_and_inert() -> None:
    text = (EXAMPLES / "acme" / "topology.yaml").read_text()
    hostile = 'https://<script>alert(1)<"&{{ 7*7 }}'  # an address may not have such a path
    topology = loads(text.replace("url: https://registry-1.docker.io", f"url: '{hostile}'")).valid
    tree = ElementTree.fromstring(draw.svg(topology))
    assert {element.tag for element in tree.iter()} <= {
        SVG + tag for tag in ("svg", "title", "desc", "style", "defs", "marker", "path", "rect", "g", "text")
    }
    assert hostile in (tree.findtext(SVG + "desc") or "")


def test_a_cycle_is_still_drawn() -> None:
    loaded = load(Path(__file__).parent / "bad" / "G1.yaml")
    assert loaded.topology is not None
    ElementTree.fromstring(draw.svg(loaded.topology))
    assert draw.text(loaded.topology).count("==>") == 3


def test_an_empty_topology_is_drawn() -> None:
    topology = loads("{apiVersion: towpath/v1, kind: Topology, metadata: {name: empty}}").valid
    assert draw.text(topology) == ""
    assert draw.mermaid(topology) == "flowchart LR"
    ElementTree.fromstring(draw.svg(topology))
