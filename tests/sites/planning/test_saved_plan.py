"""A saved plan holds until something that it stands on moves, and then says what did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.hosts import HostError
from sites.planning import saved_plan
from sites.planning.deployment import Deployment
from sites.planning.facts import HostFacts
from sites.planning.plan import host_plan
from tests.sites import deployed

NODE, HOST = "sandbox-1", "eu-1"
LAID = {"kind": "directory", "mode": 0o755, "owner": "root", "group": "root"}


class Saved:
    """A plan for one host, saved; and whether it still holds when something is otherwise."""

    def __init__(self, base: Path, wanted: DesiredHost, facts: HostFacts) -> None:
        self.file, self.plan, self.wanted, self.facts = base / "topology.yaml", base / "plan.json", wanted, facts
        self.file.write_text("one")
        saved_plan.save(self.plan, self.basis(), {HOST: host_plan(wanted, facts)})

    def basis(self, **changed: Any) -> saved_plan.Basis:
        wanted, facts = changed.get("wanted", self.wanted), changed.get("facts", self.facts)
        deployment = cast(Deployment, _Deployment({HOST: wanted}, changed.get("engine", "canary-token-of-the-engine")))
        return saved_plan.basis(deployment, {HOST: host_plan(wanted, facts)}, self.file)

    def moved(self, **changed: Any) -> list[str]:
        try:
            saved_plan.check(self.plan, self.basis(**changed))
        except HostError as error:
            assert error.code == "plan-stale"
            return error.where.splitlines()
        return []


class _Deployment:
    def __init__(self, hosts: Mapping[str, DesiredHost], engine: str) -> None:
        self.hosts, self.engine = hosts, engine


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def wanted(base: Path, *changes: tuple[str, str], release: str = deployed.RELEASE) -> DesiredHost:
    return deployed.hosts(deployed.topology(base, *changes), base, release=release)[HOST]


def test_it_holds_on_a_fresh_host_when_our_own_lock_made_the_folder_of_the_data(base: Path) -> None:
    saved = Saved(base, wanted(base), deployed.facts(paths={str(layout.DATA): None}))
    assert saved.moved(facts=deployed.facts(paths={str(layout.DATA): LAID}, lock={"id": "ours"})) == []
    owned = deployed.facts(paths={str(layout.DATA): {**LAID, "owner": "deploy"}})
    assert saved.moved(facts=owned) == [f"host {HOST}: {layout.DATA} (there)"]


def test_a_restart_moves_nothing_and_another_program_at_the_port_does(base: Path) -> None:
    host = wanted(base)
    first = deployed.facts(host, ports={5001: "python3 (process 7)"})
    saved = Saved(base, host, first)
    units = {layout.unit(NODE): first.units[layout.unit(NODE)].model_copy(update={"pid": 8})}
    again = deployed.facts(host, ports={5001: "python3 (process 8)"}).model_copy(update={"units": units})
    assert saved.moved(facts=again) == []
    assert saved.moved(facts=deployed.facts(host, ports={5001: "nginx (process 7)"})) == [
        f"host {HOST}: port 5001 (there)"
    ]
    assert saved.moved(facts=deployed.facts(host)) == [f"host {HOST}: port 5001 (there)"]


def test_every_file_that_is_wanted_counts_secrets_and_units_too(base: Path) -> None:
    host = wanted(base)
    saved = Saved(base, host, deployed.facts(host))
    assert saved.moved() == []
    (node,) = host.nodes
    for file in node.files:
        files = tuple(replace(each, content=b"other") if each is file else each for each in node.files)
        other = replace(host, nodes=(replace(node, files=files),))
        assert saved.moved(wanted=other) == [f"host {HOST}: {file.path} (wanted)"]
    assert {each.path for each in node.files} >= {str(layout.certificate(NODE)), str(layout.unit_file(NODE))}
    assert f"host {HOST}: release (wanted)" in saved.moved(wanted=wanted(base, release="f" * 16))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user": False}, "user"),
        ({"python": "3.13"}, "python"),
        ({"releases": []}, "releases"),
        ({"trees": {deployed.RELEASE: {"differing": ["a.py"]}}}, f"release {deployed.RELEASE}"),
    ],
)
def test_what_is_there_counts(base: Path, changed: dict[str, Any], said: str) -> None:
    host = wanted(base)
    saved = Saved(base, host, deployed.facts(host))
    assert saved.moved(facts=deployed.facts(host, **changed)) == [f"host {HOST}: {said} (there)"]


def test_a_drop_in_and_a_hand_edit_count(base: Path) -> None:
    host = wanted(base)
    facts = deployed.facts(host)
    saved = Saved(base, host, facts)
    unit = facts.units[layout.unit(NODE)].model_copy(update={"drop_ins": ("/etc/systemd/system/x.service.d/o.conf",)})
    assert saved.moved(facts=facts.model_copy(update={"units": {layout.unit(NODE): unit}})) == [
        f"host {HOST}: unit {layout.unit(NODE)} (there)"
    ]
    settings = str(layout.settings(NODE))
    told = facts.paths[settings]
    assert told is not None
    paths = {**facts.paths, settings: told.model_copy(update={"mode": 0o600})}
    assert saved.moved(facts=facts.model_copy(update={"paths": paths})) == [f"host {HOST}: {settings} (there)"]


def test_the_topology_counts_and_the_time_does_not(base: Path) -> None:
    host = wanted(base)
    saved = Saved(base, host, deployed.facts(host))
    assert saved.moved(facts=deployed.facts(host, time=0, disk={"total": 2, "free": 1})) == []
    saved.file.write_text("two")
    assert saved.moved() == ["topology"]


def test_no_secret_can_be_found_out_from_it(base: Path) -> None:
    """Every hash in it is keyed by a secret: another deployment's of the same things are others."""
    host = wanted(base)
    saved = Saved(base, host, deployed.facts(host))
    text = saved.plan.read_text()
    (node,) = host.nodes
    assert [each.path for each in node.files if each.sha256 in text] == []
    mine, theirs = saved.basis(), saved.basis(engine="canary-token-of-another-engine")
    assert mine.keys() == theirs.keys() and not [name for name in mine if mine[name] == theirs[name]]
    assert saved.moved(engine="canary-token-of-another-engine") == [saved_plan.STATE]


def test_what_is_no_saved_plan_is_told(tmp_path: Path) -> None:
    for text in ("", "[]", json.dumps({"format": 1, "basis": {}})):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(HostError) as told:
            saved_plan.load(tmp_path / "plan.json")
        assert told.value.code == "plan-unreadable"
