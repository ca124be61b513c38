"""Drift is measured against what apply laid down, whatever the topology says now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sites import layout
from sites.drift import drift
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
    assert [(each.sign, each.operation, each.change) for each in drift(host.target, found)] == [said]
    assert drift(host.target, facts) == ()


def test_a_stopped_unit_is_drift_and_a_changed_topology_is_not(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    stopped = deployed.facts(host, units={layout.unit(NODE): {"ActiveState": "inactive", "UnitFileState": "enabled"}})
    assert [each.change for each in drift(host.target, stopped)] == [f"{layout.unit(NODE)} is inactive"]
    other = deployed.hosts(deployed.topology(base, ("2TiB", "3TiB")), base)["eu-1"]
    assert drift(other.target, deployed.facts(host)) == ()


def test_a_host_that_nobody_applied_to_has_none(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert drift(host.target, deployed.facts()) == ()
