"""Desired state minus facts: what an empty machine gets, what one that is right gets (nothing), and each difference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.planning import trial
from sites.planning.actions import Keep, PutFile, PutRelease, Remove, Restore, Unit
from sites.planning.drop_ins import warnings
from sites.planning.facts import HostFacts, PathFacts
from sites.planning.host_plan import HostPlan, NodePlan
from sites.planning.plan import host_plan
from sites.rollout.rolling import way_back
from tests.sites import deployed

NODE = "sandbox-1"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def wanted(base: Path, *changes: tuple[str, str], release: str = deployed.RELEASE) -> DesiredHost:
    return deployed.hosts(deployed.topology(base, *changes), base, release=release)["eu-1"]


def rows(plan: HostPlan) -> list[tuple[str, str, str, str]]:
    return [(each.sign, each.node, each.operation, each.change) for each in plan.all_rows]


def only(plan: HostPlan) -> NodePlan:
    (node,) = plan.nodes
    return node


def edited(facts: HostFacts, path: Any, **changed: Any) -> HostFacts:
    told = facts.paths[str(path)]
    assert told is not None
    return facts.model_copy(update={"paths": {**facts.paths, str(path): told.model_copy(update=changed)}})


def test_an_empty_machine_gets_everything(base: Path) -> None:
    plan = host_plan(wanted(base), deployed.facts())
    assert [each[2] for each in rows(plan)] == ["user", "directories", "release", "node"]
    assert rows(plan)[-1] == ("+", NODE, "node", "local of sandbox, port 5001")
    node = only(plan)
    assert node.starts and not node.was_there
    commands = [each.command for each in node.actions]
    assert commands[-2:] == [f"systemctl enable {layout.unit(NODE)}", f"systemctl restart {layout.unit(NODE)}"]
    assert [each.command for each in node.settle] == [f"rm -rf {layout.pending(NODE)}"]
    assert commands.index("systemctl daemon-reload") < commands.index(f"systemctl enable {layout.unit(NODE)}")
    assert way_back(node) == (Unit("stop", layout.unit(NODE)),)


def test_a_host_that_is_right_gets_nothing(base: Path) -> None:
    for name, host in deployed.hosts(deployed.topology(base), base).items():
        plan = host_plan(host, deployed.facts(host))
        assert (rows(plan), plan.changes) == ([], False), name


def test_a_larger_quota_restarts_and_can_go_back(base: Path) -> None:
    plan = host_plan(wanted(base, ("2TiB", "3TiB")), deployed.facts(wanted(base)))
    assert rows(plan) == [("~", NODE, "quota", "2 TiB -> 3 TiB")]
    (row,) = plan.all_rows
    assert row.path == ("scopes", "sandbox", "quota")
    assert '-    "quota_bytes": 2199023255552' in row.diff
    node = only(plan)
    assert node.starts and node.was_there
    assert [type(each) for each in way_back(node)[:1]] == [Restore]
    assert [each.paths for each in node.actions if isinstance(each, Keep)] == [(str(layout.settings(NODE)),)]


def test_new_people_need_no_restart(base: Path) -> None:
    before = deployed.facts(wanted(base))
    (base / "secrets" / "dev.bcrypt").write_text(f"{deployed.BCRYPT[:-1]}b\n")
    plan = host_plan(wanted(base), before)
    assert rows(plan) == [("~", NODE, "users", "~dev")]
    assert not only(plan).starts
    assert "aaaa" not in "".join(each.diff for each in plan.all_rows)
    assert not [each for each in only(plan).actions if isinstance(each, Unit)]
    assert str(layout.pending(NODE)) in [each.wanted.path for each in only(plan).actions if isinstance(each, PutFile)]
    settled = (Remove(str(layout.pending(NODE))),)
    assert (only(plan).settle, way_back(only(plan))[-1:]) == (settled, settled), "on trial, too"


def test_a_new_release_is_sent_first_and_restarts(base: Path) -> None:
    plan = host_plan(wanted(base, release="f" * 16), deployed.facts(wanted(base)))
    assert rows(plan) == [
        ("+", "", "release", f"0.1.0 ({'f' * 16})"),
        ("~", NODE, "release", f"{deployed.RELEASE} -> {'f' * 16}"),
    ]
    assert [type(each) for each in plan.prepare] == [PutRelease]
    assert only(plan).starts


def test_what_an_interrupted_run_left_is_finished(base: Path) -> None:
    host = wanted(base)
    paths = {**deployed.facts(host).paths, str(layout.pending(NODE)): {"kind": "file"}}
    plan = host_plan(host, deployed.facts(host, paths=paths))
    assert rows(plan) == [("~", NODE, "process", "has not passed its health gate")]
    assert only(plan).starts and only(plan).was_there and only(plan).settle
    put = [each.wanted.path for each in only(plan).actions if isinstance(each, PutFile)]
    assert str(layout.pending(NODE)) not in put, "the mark stays as it is, and what was kept with it"


def test_a_first_start_that_was_cut_before_its_gate_has_nothing_to_go_back_to(base: Path) -> None:
    host = wanted(base)
    (mark,) = (
        each.wanted
        for each in only(host_plan(host, deployed.facts())).actions
        if isinstance(each, PutFile) and each.wanted.path == str(layout.pending(NODE))
    )
    paths = {**deployed.facts(host).paths, mark.path: {"kind": "file", "sha256": mark.sha256}}
    plan = host_plan(host, deployed.facts(host, paths=paths))
    assert rows(plan) == [("~", NODE, "process", "has not passed its health gate")]
    assert only(plan).starts and not only(plan).was_there
    assert way_back(only(plan)) == (Unit("stop", layout.unit(NODE)),)


def test_a_stopped_unit_is_started(base: Path) -> None:
    host = wanted(base)
    unit = {"ActiveState": "failed", "UnitFileState": "enabled"}
    plan = host_plan(host, deployed.facts(host, units={layout.unit(NODE): unit}))
    assert rows(plan) == [("~", NODE, "process", "failed -> active")]
    assert not only(plan).runs and only(plan).was_there


def test_a_node_that_is_down_has_its_former_files_to_go_back_to(base: Path) -> None:
    """One that died in an interrupted run, or by itself: when the new files fail, it gets the old ones."""
    unit = {"ActiveState": "failed", "UnitFileState": "enabled"}
    facts = deployed.facts(wanted(base), units={layout.unit(NODE): unit})
    mark = {"kind": "file", "sha256": trial.mark(NODE, first=False).sha256}
    for paths in (facts.paths, {**facts.paths, str(layout.pending(NODE)): PathFacts.model_validate(mark)}):
        node = only(host_plan(wanted(base, ("2TiB", "3TiB")), facts.model_copy(update={"paths": paths})))
        assert isinstance(way_back(node)[0], Restore)


def test_an_edited_release_is_laid_down_again_and_its_nodes_restart(base: Path) -> None:
    host = wanted(base)
    plan = host_plan(host, deployed.facts(host, trees={deployed.RELEASE: {"differing": ["a.py", "b.py", "c", "d"]}}))
    assert rows(plan) == [
        ("~", "", "release", f"0.1.0 ({deployed.RELEASE}): edited there: a.py, b.py, c and 1 more"),
        ("~", NODE, "process", "runs a release that was edited"),
    ]
    assert [type(each) for each in plan.prepare] == [Keep, PutFile, PutRelease], "marked first: a cut run restarts it"
    assert only(plan).starts and only(plan).settle
    again = host_plan(host, deployed.facts(host, trees={deployed.RELEASE: {"manifest": "of this release"}}))
    assert rows(again) == []


def test_a_manifest_that_was_edited_too_is_seen(base: Path) -> None:
    host = wanted(base)
    known = replace(host, release=replace(host.release, manifest="laid down"))
    facts = deployed.facts(known, trees={deployed.RELEASE: {"manifest": "another"}})
    assert rows(host_plan(known, facts))[0][3].endswith("edited there: MANIFEST")


def test_an_operator_s_drop_in_is_warned_of_and_left(base: Path) -> None:
    host = wanted(base)
    unit, mine = layout.unit(NODE), f"/etc/systemd/system/{layout.unit(NODE)}.d/override.conf"
    shown = {"ActiveState": "active", "UnitFileState": "enabled"}
    said = {unit: {**shown, "DropInPaths": f"/usr/lib/systemd/system/service.d/10-all.conf {mine}"}}
    facts = deployed.facts(host, units=said)
    assert not host_plan(host, facts).changes
    assert list(warnings("eu-1", facts)) == [
        f"warning[unit-drop-in]: eu-1: {mine} changes {unit}; it stays (systemctl revert {unit})"
    ]


@pytest.mark.parametrize(
    ("path", "changed", "said"),
    [
        (layout.unit_file(NODE), {"sha256": "0" * 64}, ("file", f"{layout.unit(NODE)} differs")),
        (
            layout.credentials(NODE) / "tls.key",
            {"mode": 0o644},
            ("credential", "tls.key is 0644 root:root, not 0600 root:root"),
        ),
        (layout.certificate(NODE), {"kind": "link", "target": "/etc/passwd"}, ("file", "tls.crt is a link")),
    ],
)
def test_a_hand_edit_is_put_back(base: Path, path: Any, changed: dict[str, Any], said: tuple[str, str]) -> None:
    host = wanted(base)
    plan = host_plan(host, edited(deployed.facts(host), path, **changed))
    assert [each[2:] for each in rows(plan)] == [said]
    assert str(path) in [each.wanted.path for each in only(plan).actions if isinstance(each, PutFile)]


def test_nothing_that_a_person_reads_holds_a_secret(base: Path) -> None:
    host = deployed.hosts(deployed.topology(base), base)["eu-2"]
    plan = host_plan(host, deployed.facts())
    shown = repr(plan) + "".join("".join(each.commands) + each.diff for each in plan.all_rows)
    assert "canary-token" not in shown and "PRIVATE KEY" not in shown
    sent = str([each.told() for node in plan.nodes for each in node.actions])
    assert "canary" not in sent, "in base64 at most, on stdin"
