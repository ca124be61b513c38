"""A state folder that is lost, and a host's record with it: import takes over what runs, and nothing of it is touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.lab.deployed import Deployment
from tests.lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]

TWO = """\
sites:
  eu:
    hosts:
      eu-1: {ssh: deploy@10.91.1.11, failureDomain: a}
      eu-2: {ssh: deploy@10.91.1.12, failureDomain: b}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox: {class: dev, grants: [{to: dev, allow: [pull, push]}], cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}}
nodes:
  stays: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  asks: {kind: virtual, site: eu, host: eu-2, port: 5020, members: [stays], owns: {'**': [stays]}}
  leaves: {kind: virtual, site: eu, host: eu-2, port: 5021, members: [stays], owns: {'**': [stays]}}
"""
LEAVES = "  leaves: {kind: virtual, site: eu, host: eu-2, port: 5021, members: [stays], owns: {'**': [stays]}}\n"
PIDS = "systemctl show -p MainPID --value 'towpath-*.service'"
RECORD = "/etc/towpath/inventory.json"


def lines(said: str, kind: str) -> list[dict[str, str]]:
    told = [json.loads(line) for line in said.splitlines()]
    return [each for each in told if each["type"] == kind]


def test_what_runs_is_taken_over_when_all_that_was_known_of_it_is_lost(lab: Lab, tmp_path: Path) -> None:
    lab.reset("eu-1", "eu-2")
    two = Deployment(lab, tmp_path, TWO)
    two.towpath("apply", timeout=200)
    hosts = ("eu-1", "eu-2")
    pids = [lab.on(host, PIDS).stdout for host in hosts]
    shutil.rmtree(tmp_path / ".towpath")
    lab.on("eu-2", f"rm {RECORD}")
    two.change(LEAVES, "")
    for words in (("destroy", "lab", "--yes"), ("plan",)):
        refused = two.towpath(*words, check=False)
        assert (refused.returncode, "towpath import eu-2" in refused.stderr) == (4, True), refused.stderr
    two.towpath("import", "--dry-run")
    assert lab.on("eu-2", f"ls {RECORD}", check=False).stdout == ""
    rows = lines(two.towpath("import", "-o", "json").stdout, "node")
    assert {(row["host"], row["node"], row["state"]) for row in rows} == {
        ("eu-1", "stays", "active"),
        ("eu-2", "asks", "active"),
        ("eu-2", "leaves", "active"),
    }
    assert [row["node"] for row in rows if "leaves: the topology does not have it" in row["taken_over"]] == ["leaves"]
    assert "written" not in two.towpath("import").stderr, "a second time there is nothing to do"
    planned = lines(two.towpath("plan", "-o", "json").stdout, "row")
    on_hosts = [(row["sign"], row["node"], row["operation"]) for row in planned if row["host"]]
    assert ("-", "leaves", "node") in on_hosts
    left = {("~", "stays", "users"), ("~", "asks", "users"), ("~", "stays", "grants")}  # who left may not read any more
    assert {row for row in on_hosts if row[1] != "leaves"} == left
    two.towpath("apply", "--remove", "leaves", timeout=200)
    assert lab.on("eu-1", PIDS).stdout == pids[0]
    assert set(lab.on("eu-2", PIDS).stdout.split()) < set(pids[1].split()), "the engine's new login restarts nothing"
    assert two.towpath("plan", "--detailed-exitcode").returncode == 0
    assert two.towpath("drift").returncode == 0
    lab.on("eu-1", f"echo '{{' > {RECORD}")
    broken = two.towpath("plan", check=False)
    assert (broken.returncode, "error[record-unreadable]" in broken.stderr) == (4, True)
    two.towpath("import", "eu-1")
    assert two.towpath("plan", "--detailed-exitcode").returncode == 0
    two.towpath("destroy", "lab", "--yes", timeout=200)
    for host in hosts:
        assert lab.on(host, "find /etc/towpath /opt/towpath/nodes -type f -o -type l").stdout == ""
