"""Edges in the rows of a plan: against what the last apply left, with the place in the topology."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.hosts import HostError
from sites.state import write_json
from tests.promotions.test_edge_changes import TEXT
from towpath.edge_rows import edge_changes, edge_rows, remember_edges
from towpath.figures import applied
from towpath.output import Output
from towpath.plan_shown import show
from towpath.workspace import Where, Workspace


def workspace(folder: Path, text: str = TEXT) -> Workspace:
    file = folder / "topology.yaml"
    file.write_text(text)
    state = folder / ".towpath"
    state.mkdir(exist_ok=True)
    return Where(file, state).open()


def test_all_are_added_before_the_first_apply_and_none_after_it(tmp_path: Path) -> None:
    before = workspace(tmp_path)
    assert [(each.site, each.sign, each.node) for each in edge_rows(before)] == [
        ("edge", "+", "to-prod"),
        ("edge", "+", "copies"),
        ("freeze", "+", "weekend"),
    ]
    remember_edges(before)
    assert edge_rows(before) == []


def test_a_plan_shows_a_gate_that_is_taken_from_an_edge_and_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    applied(workspace(tmp_path), Output())
    assert capsys.readouterr().err == "", "the first time nothing runs yet"
    later = workspace(tmp_path, TEXT.replace("gates: [signed, soaked]", "gates: [signed]"))
    show(later, {}, Output(json=True))
    show(later, {}, Output())
    shown = capsys.readouterr()
    line = TEXT[: TEXT.index("id: to-prod")].count("\n") + 1
    assert '"change": "gates: signed, soaked -> signed"' in shown.out
    assert f'topology.yaml:{line}"' in shown.out
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in shown.err
    applied(later, Output())
    assert "promotion to-prod: a controller that runs takes this in" in capsys.readouterr().err
    assert edge_changes(later) == ()


def test_of_an_apply_that_remembered_no_edges_nothing_is_told(tmp_path: Path) -> None:
    older = workspace(tmp_path)
    write_json(older.state.cleanup, {})
    assert edge_changes(older) == ()


def test_another_key_in_the_same_file_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "release.pub").write_text("one key")
    remember_edges(workspace(tmp_path))
    assert edge_rows(workspace(tmp_path)) == []
    (tmp_path / "release.pub").write_text("another key")
    (row,) = edge_rows(workspace(tmp_path))
    assert (row.site, row.node, row.sign) == ("trust", "key", "~")
    assert row.change.startswith("file: release.pub (sha256 ") and " -> release.pub (sha256 " in row.change


@pytest.mark.parametrize("left", ["[]", '{"promotion": 3}', '{"promotion": {"to-prod": ["pool"]}}', "{"])
def test_a_file_of_another_shape_is_said_with_what_to_do(tmp_path: Path, left: str) -> None:
    edited = workspace(tmp_path)
    edited.state.edges.write_text(left)
    with pytest.raises(HostError) as raised:
        edge_changes(edited)
    assert raised.value.code == "state-unreadable" and "edges.json" in raised.value.what
