"""Protection: said by node or scope, remembered when the line is gone, lifted by ``protect: false`` alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sites.desired.protection import remembered, said, trash_term
from tests.sites import deployed

SCOPE = "ci: {class: ci, "
NODE = "ci-2: {kind: local, "


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((), {}),
        (((SCOPE, f"{SCOPE}protect: true, "),), {"scope": True}),
        (((NODE, f"{NODE}protect: true, "),), {"node": True}),
        (((NODE, f"{NODE}protect: true, "), (SCOPE, f"{SCOPE}protect: false, ")), {"node": True, "scope": False}),
    ],
)
def test_who_says_what(tmp_path: Path, changes: tuple[tuple[str, str], ...], expected: dict[str, bool]) -> None:
    assert said(deployed.topology(deployed.folder(tmp_path), *changes), "ci-2") == expected


def test_a_line_that_is_deleted_does_not_lift_it_and_false_does() -> None:
    assert remembered({}, ()) == ()
    assert remembered({"scope": True}, ()) == ("scope",)
    assert remembered({}, ("scope",)) == ("scope",)
    assert remembered({"scope": False}, ("scope", "node")) == ("node",), "each by what it was put"


def test_the_inventory_says_it(tmp_path: Path) -> None:
    topology = deployed.topology(deployed.folder(tmp_path), (NODE, f"{NODE}protect: true, "))
    host = deployed.hosts(topology, tmp_path)["eu-2"]
    inventory = deployed.facts(host).inventory
    assert inventory is not None
    assert inventory.nodes["ci-2"].protected == ("node",)
    assert (inventory.nodes["ci-2"].port, inventory.nodes["ci-2"].tls) == (5002, True)
    assert inventory.nodes["sandbox-2"].protected == ()


def test_data_is_kept_as_long_as_the_scope_s_trash(tmp_path: Path) -> None:
    changed = (
        f"{SCOPE}grants: [{{to: robot, allow: [pull, push]}}], cleanup: {{",
        f"{SCOPE}grants: [], cleanup: {{trash: 7d, ",
    )
    topology = deployed.topology(deployed.folder(tmp_path), changed)
    assert trash_term(topology, "ci-2") == timedelta(days=7)
    assert trash_term(topology, "sandbox-2") == trash_term(topology, "hub-2") == timedelta(days=30)
