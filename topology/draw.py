"""The topology as text, as a Mermaid flowchart and as SVG. All text is escaped: it comes from the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from topology.graph import Flow, Link, Vertex, build, links
from topology.layout import BOX_WIDTH, HEADER, ROW, arrange, columns
from topology.model import ExternalNode, LocalNode, MirrorNode, Promotion, Replication, Topology, VirtualNode

_MERMAID = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\n": " "})
_TEMPLATES = Path(__file__).parent / "templates"


def text(topology: Topology) -> str:
    """Scopes in the order in which images reach them, each with its nodes and the edges that leave it."""
    order = [vertex.name for column in columns(topology) for vertex in column if vertex.kind == "scope"]
    blocks = [_scope(topology, name) for name in order]
    others = [line for name, node in topology.nodes.items() for line in _other(name, node)]
    return "\n\n".join("\n".join(block) for block in [*blocks, others] if block)


def _scope(topology: Topology, name: str) -> list[str]:
    declared = topology.scopes[name]
    marks = [str(declared.class_), str(declared.write)] + (["protected"] if declared.protect else [])
    lines = [f"{name}  ({', '.join(marks)})"]
    for node_name, node in topology.members_of(name):
        place = f"{node.site}/{node.host}:{node.port}" if isinstance(node, LocalNode) else node.url
        lines.append(f"  {node.role:<8} {node_name}  {place}")
    lines += [_promotion(edge) for edge in topology.promotions if edge.source == name]
    holding = {node_name for node_name, _ in topology.members_of(name)}
    lines += [_replication(each) for each in topology.replications if each.source in holding]
    return lines


def _promotion(edge: Promotion) -> str:
    gates = ", ".join(edge.gates) or "none"
    return f"  ==> {edge.target}  {edge.id}  by: {', '.join(edge.by) or 'nobody'}  gates: {gates}"


def _replication(each: Replication) -> str:
    when = [f"on {each.on}"] if each.on else []
    when += [f"cron {each.cron}"] if each.cron else []
    when += ["reconciled"] if each.reconcile else []
    return f"  --> {', '.join(each.targets)}  {each.id}  {', '.join(when)}"


def _other(name: str, node: object) -> Iterator[str]:
    match node:
        case MirrorNode():
            yield f"{name}  (mirror, {node.site})  of {', '.join(node.sources)}"
        case VirtualNode():
            yield f"{name}  (virtual, {node.site})  over {', '.join(node.members)}"
        case ExternalNode() if node.scope is None:
            yield f"{name}  (external)  {node.url}"


def mermaid(topology: Topology) -> str:
    """A flowchart for Markdown pages."""
    ids = {vertex: f"v{number}" for number, vertex in enumerate(build(topology))}
    lines = ["flowchart LR"]
    for name, declared in topology.scopes.items():
        lines.append(f'  subgraph {ids[Vertex("scope", name)]}["{_label(f"{name} ({declared.class_})")}"]')
        lines += [f"    {_node(ids, member)}" for member, _ in topology.members_of(name)]
        lines.append("  end")
    loose = [name for name, node in topology.nodes.items() if getattr(node, "scope", None) not in topology.scopes]
    lines += [f"  {_node(ids, name)}" for name in loose]
    lines += [f"  {_link(ids, link)}" for link in links(topology) if link.source in ids and link.target in ids]
    return "\n".join(line for line in lines if line.strip())


def _node(ids: dict[Vertex, str], name: str) -> str:
    return f'{ids[Vertex("node", name)]}["{_label(name)}"]'


def _link(ids: dict[Vertex, str], link: Link) -> str:
    if link.flow is Flow.HOLDS:
        return ""
    arrow = "==>" if link.flow is Flow.PROMOTION else "-.->"
    return f'{ids[link.source]} {arrow}|"{_label(link.label or str(link.flow))}"| {ids[link.target]}'


def _label(raw: str) -> str:
    return raw.translate(_MERMAID)


def svg(topology: Topology) -> str:
    """A drawing that stands alone: no script, no outside resource; light and dark."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("graph.svg.j2").render(
        drawing=arrange(topology), description=text(topology), width=BOX_WIDTH, header=HEADER, row_height=ROW
    )
