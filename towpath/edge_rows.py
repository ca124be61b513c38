"""How images may move, in the rows of a plan: the edges, gates and freezes that differ from those of the last apply."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from promotions.edge_changes import EdgeChange, Said, changed, said
from sites.hosts import HostError
from sites.planning.host_plan import Row
from sites.state import read_json, write_json
from towpath.workspace import Workspace

EDGES = frozenset({"promotion", "replication"})


def edge_changes(workspace: Workspace) -> tuple[EdgeChange, ...]:
    """All of them before the first apply; none after one by an older towpath, which remembered no edges."""
    file = workspace.state.edges
    if not file.is_file() and workspace.state.cleanup.is_file():
        return ()
    return changed(_remembered(file) if file.is_file() else {}, workspace.topology)


def edge_rows(workspace: Workspace) -> list[Row]:
    """They change nothing on a host: promotions and the controller read them from the topology."""
    return [
        Row("edge" if each.kind in EDGES else each.kind, "", each.name, each.sign, each.kind, each.change, each.path)
        for each in edge_changes(workspace)
    ]


def remember_edges(workspace: Workspace) -> None:
    """As applied."""
    write_json(workspace.state.edges, said(workspace.topology))


def _remembered(file: Path) -> Said:
    """Raises HostError when the file is of another shape."""
    try:
        return TypeAdapter(Said).validate_python(read_json(file))
    except ValidationError:
        next = "remove the file: the next apply writes it anew"
        raise HostError("state-unreadable", f"{file} holds no edges", next=next) from None
