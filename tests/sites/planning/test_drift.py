"""Drift is measured against what apply laid down, whatever the topology says now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.planning.drift import drift
from sites.planning.facts import TreeFacts
from tests.sites import deployed

NODE = "sandbox-1"
SETTINGS = str(layout.settings(NODE))


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
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(host)
    told = facts.paths[path]
    assert told is not None
    found = facts.model_copy(
        update={"paths": {**facts.paths, path: told.model_copy(update=changed) if changed else None}}
    )
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
