"""Drift is measured against what apply laid down, whatever the topology says now."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.planning.deployment import unfit
from sites.planning.drift import drift
from sites.planning.facts import HostFacts, PathFacts, TreeFacts
from sites.planning.plan import host_plan
from tests.sites import deployed

NODE = "sandbox-1"
SETTINGS = str(layout.settings(NODE))


def edited(folder: Path, path: str, changed: dict[str, Any] | None) -> tuple[DesiredHost, HostFacts, HostFacts]:
    """A host, what it has after an apply, and the same with one path changed, or (None) gone."""
    base = deployed.folder(folder)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    told = facts.paths[path]
    assert told is not None
    now = told.model_copy(update=changed) if changed else None
    return host, facts, facts.model_copy(update={"paths": {**facts.paths, path: now}})


@pytest.mark.parametrize(
    ("path", "changed", "said"),
    [
        (SETTINGS, None, ("-", "file", f"{SETTINGS} is gone")),
        (SETTINGS, {"sha256": "0" * 64}, ("~", "file", f"{SETTINGS} was edited")),
        (SETTINGS, {"mode": 0o644, "owner": "deploy"}, ("~", "file", f"{SETTINGS} is 0644 deploy:towpath")),
        (
            str(layout.release_of(NODE)),
            {"target": "../releases/mine"},
            ("~", "release", f"{layout.release_of(NODE)} leads to ../releases/mine"),
        ),
    ],
)
def test_a_hand_edit_is_seen(tmp_path: Path, path: str, changed: dict[str, Any] | None, said: tuple[str, ...]) -> None:
    host, facts, found = edited(tmp_path, path, changed)
    assert [(each.sign, each.operation, each.change) for each in drift(host, found)] == [said]
    assert drift(host, facts) == ()


def test_a_stopped_unit_is_drift_and_a_changed_topology_is_not(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    stopped = deployed.facts(host, units={layout.unit(NODE): {"ActiveState": "inactive", "UnitFileState": "enabled"}})
    assert [each.change for each in drift(host, stopped)] == [f"{layout.unit(NODE)} is inactive"]
    other = deployed.hosts(deployed.topology(base, ("2TiB", "3TiB")), base)["eu-1"]
    assert drift(other, deployed.facts(host)) == ()


def test_folders_releases_and_drop_ins_drift_too(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    secrets, release = str(layout.credentials(NODE)), deployed.RELEASE
    facts = deployed.facts(host)
    open_to_all = facts.paths[secrets]
    assert open_to_all is not None
    override = f"/etc/systemd/system/{layout.unit(NODE)}.d/override.conf"
    found = facts.model_copy(
        update={
            "paths": {**facts.paths, secrets: open_to_all.model_copy(update={"mode": 0o777})},
            "trees": {release: TreeFacts(differing=("registry_node/app.py",))},
            "units": {layout.unit(NODE): facts.units[layout.unit(NODE)].model_copy(update={"drop_ins": (override,)})},
        }
    )
    assert [(each.operation, each.node, each.change) for each in drift(host, found)] == [
        ("directory", NODE, f"{secrets} is 0777 root:root"),
        ("release", "", f"{layout.release(release)} was edited: registry_node/app.py"),
        ("drop-in", NODE, f"{override} changes {layout.unit(NODE)}"),
    ]
    gone = facts.model_copy(update={"releases": (), "paths": {**facts.paths, secrets: None}})
    assert [each.change for each in drift(host, gone)] == [f"{secrets} is gone", f"{layout.release(release)} is gone"]


DATA, INVENTORY, UNIT = str(layout.data(NODE)), str(layout.INVENTORY), layout.unit(NODE)
LINK = {"kind": "link", "target": "/tmp/mine", "sha256": ""}


@pytest.mark.parametrize(
    ("path", "changed", "said", "mended"),
    [
        (DATA, None, ("-", "data", f"{DATA} is gone"), "its data folder is gone"),
        (
            DATA,
            {"mode": 0o777},
            ("~", "data", f"{DATA} is 0777 towpath:towpath"),
            "its data folder is 0777 towpath:towpath",
        ),
        (SETTINGS, LINK, ("~", "file", f"{SETTINGS} is a link to /tmp/mine"), "settings.json is a link"),
        (INVENTORY, {"mode": 0o644}, ("~", "inventory", f"{INVENTORY} is 0644 root:root"), INVENTORY),
        (
            str(layout.release_of(NODE)),
            {"kind": "file", "target": ""},
            ("~", "release", f"{layout.release_of(NODE)} is a file"),
            f" -> {deployed.RELEASE}",
        ),
    ],
)
def test_what_is_seen_is_mended(
    tmp_path: Path, path: str, changed: dict[str, Any] | None, said: tuple[str, ...], mended: str
) -> None:
    host, _, found = edited(tmp_path, path, changed)
    assert [(each.sign, each.operation, each.change) for each in drift(host, found)] == [said]
    assert [each.change for each in host_plan(host, found).all_rows] == [mended]


def test_a_data_folder_that_is_a_link_is_an_operator_s_own_way(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    found = facts.model_copy(update={"paths": {**facts.paths, DATA: PathFacts(kind="link", target="/big/data")}})
    assert (drift(host, found), host_plan(host, found).changes) == ((), False)


def test_a_unit_that_systemd_has_not_read_again_is_restarted(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    found = facts.model_copy(update={"units": {UNIT: facts.units[UNIT].model_copy(update={"stale": "yes"})}})
    assert [each.change for each in drift(host, found)] == [f"{UNIT} runs on an older unit file"]
    (node,) = host_plan(host, found).nodes
    assert [each.command for each in node.actions][-2:] == ["systemctl daemon-reload", f"systemctl restart {UNIT}"]


def test_files_that_somebody_put_beside_ours_are_shown_and_left(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    folder = str(layout.settings(NODE).parent)
    names = ("credentials", "settings.json", "pending", "tls.crt.towpath-new", "hub.ca.crt")  # an upstream that it had
    assert drift(host, deployed.facts(host, inside={folder: names})) == ()
    found = deployed.facts(host, inside={folder: (*names, "settings.json.bak"), "/etc/towpath/other": ("x",)})
    (row,) = drift(host, found)
    unmanaged = f"{folder}/settings.json.bak was put there by somebody"
    assert (row.sign, row.node, row.operation, row.change) == ("+", NODE, "unmanaged", unmanaged)
    assert not host_plan(host, found).changes
    (odd,) = drift(host, deployed.facts(host, inside={folder: ("\x1b[2Jm\udcfcll",)}))
    assert odd.change == rf"{folder}/\x1b[2Jm\udcfcll was put there by somebody", "as a terminal can be given it"


def test_the_user_and_the_inventory_that_are_gone_are_seen(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert [each.change for each in drift(host, deployed.facts(host, user=False))] == ["towpath is gone"]
    links = {"links": {NODE: ("../releases/0",)}}
    lost = deployed.facts(host, inventory=None, earlier=links)
    assert [each.change for each in drift(host, lost)] == [f"{INVENTORY} cannot be read: nothing else can be compared"]
    gone = lost.model_copy(update={"paths": {**lost.paths, INVENTORY: None}})
    assert [(each.sign, each.operation) for each in drift(host, gone)] == [("-", "inventory")]
    assert [each.operation for each in host_plan(host, gone).all_rows] == ["inventory"]


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        (SETTINGS, "directory", "is a folder, and a file of ours"),
        (str(layout.release_of(NODE)), "directory", "is a folder, and a file of ours"),
        (str(layout.credentials(NODE)), "link", "is a link, and a folder of ours"),
        (str(layout.SETTINGS), "file", "is a file, and a folder of ours"),
    ],
)
def test_what_stands_in_the_way_is_refused_before_anything_changes(
    tmp_path: Path, path: str, kind: Literal["directory", "link", "file"], said: str
) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    found = facts.model_copy(update={"paths": {**facts.paths, path: PathFacts(kind=kind)}})
    (error,) = unfit(host, found)
    assert (error.code, f"{path} of host eu-1 {said}" in error.what) == ("path-in-the-way", True)
    assert unfit(host, facts) == []


def test_a_host_that_nobody_applied_to_has_none(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert drift(host, deployed.facts()) == ()


def test_what_was_edited_is_shown_line_by_line_and_no_hash_of_a_secret(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    unit = str(layout.unit_file(NODE))
    edits = {
        unit: (facts.texts[unit] or "").replace("WatchdogSec=30", "WatchdogSec=0"),
        SETTINGS: (facts.texts[SETTINGS] or "").replace("2199023255552", "1").replace("aaaa", "bbbb"),
    }
    paths = {each: facts.paths[each].model_copy(update={"sha256": "0" * 64}) for each in edits}  # type: ignore[union-attr]
    found = facts.model_copy(update={"paths": {**facts.paths, **paths}, "texts": {**facts.texts, **edits}})
    shown = {each.change.split()[0]: each.diff for each in drift(host, found)}
    assert "-WatchdogSec=0\n+WatchdogSec=30" in shown[unit]
    assert '-    "quota_bytes": 1' in shown[SETTINGS]
    assert "bbbb" not in shown[SETTINGS] and "aaaa" not in shown[SETTINGS]
