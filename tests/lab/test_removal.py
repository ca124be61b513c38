"""Nodes that leave real hosts: refused while they hold what others lack, then stopped and kept in trash; and destroy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.deployed import PASSWORD, Deployment, image
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

THREE = """\
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
  other: {class: dev, grants: [{to: dev, allow: [pull, push]}], cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}}
nodes:
  stays: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  leaves: {kind: local, scope: other, site: eu, host: eu-1, port: 5002, protect: true}
  away: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5001}
replications:
  - {id: all, from: stays, to: [away], on: event, deletes: trash}
"""
LEAVES = "  leaves: {kind: local, scope: other, site: eu, host: eu-1, port: 5002, protect: true}\n"
AWAY = "  away: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5001}\n"
REPLICATION = "replications:\n  - {id: all, from: stays, to: [away], on: event, deletes: trash}\n"
OTHER = "  other: {class: dev, grants: [{to: dev, allow: [pull, push]}], cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}}\n"
TRASH = "ls /var/lib/towpath/.trash"


def rows(printed: str) -> list[dict[str, Any]]:
    """Of a plan, with ``-o json``."""
    return [each for each in map(json.loads, printed.splitlines()) if each["type"] == "row"]


@pytest.fixture(scope="module")
def three(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Three nodes on two hosts, one of them with an image; the tests go on from there, in their order."""
    lab.reset("eu-1", "eu-2")
    deployment = Deployment(lab, tmp_path_factory.mktemp("three"), THREE)
    deployment.towpath("apply", timeout=200)
    source = f"oci:{image(tmp_path_factory.mktemp('image') / 'image')}:1.0"
    creds = ("--dest-creds", f"dev:{PASSWORD}", "--dest-cert-dir", deployment.certificates)
    deployment.skopeo("copy", *creds, source, "docker://10.91.1.11:5002/apps/hello:1.0")
    yield deployment


def test_a_protected_node_that_holds_an_image_goes_only_when_it_is_named(three: Deployment) -> None:
    lab = three.lab
    three.change(LEAVES, "")
    three.change(OTHER, "")
    planned = three.towpath("plan", "-o", "json")
    (row,) = rows(planned.stdout)
    assert (row["sign"], row["node"], row["host"]) == ("-", "leaves", "eu-1")
    held = "holds 1 tag, 1 without another copy; 1 manifest in all, 1 without another copy"
    assert f"{held}; protected by its node" in row["change"]
    before = lab.on("eu-1", "systemctl show -p MainPID --value 'towpath-*.service'").stdout
    refused = three.towpath("apply", "--remove", "leaves", check=False)
    assert (refused.returncode, "error[removal-protected]" in refused.stderr) == (4, True)
    assert lab.on("eu-1", "systemctl show -p MainPID --value 'towpath-*.service'").stdout == before
    lab.on("eu-1", r"""sed -i 's#^ "files": {#&"/etc/passwd": {"node": "leaves"},#' /etc/towpath/inventory.json""")
    planned = three.towpath("plan")
    assert "lists /etc/passwd, which is none of ours" in planned.stdout
    three.towpath("apply", "--remove-protected", "leaves")
    assert lab.on("eu-1", "grep -c root /etc/passwd").stdout.strip() != "0"
    left = lab.on("eu-1", "find /etc/towpath /opt/towpath/nodes /etc/systemd/system -name '*leaves*'").stdout
    assert left == ""
    assert lab.on("eu-1", "systemctl is-active towpath-leaves", check=False).stdout.strip() == "inactive"
    (kept,) = (each for each in lab.on("eu-1", TRASH).stdout.split() if not each.endswith(".json"))
    assert lab.on("eu-1", f"ls /var/lib/towpath/.trash/{kept}").stdout != ""
    assert lab.on("eu-1", f"stat -c %a /var/lib/towpath/.trash /var/lib/towpath/.trash/{kept}.json").stdout.split() == [
        "700",
        "600",
    ]
    assert three.towpath("plan", "--detailed-exitcode").returncode == 0
    assert three.towpath("drift").returncode == 0


def test_what_is_brought_back_serves_what_it_held(three: Deployment) -> None:
    lab = three.lab
    lab.on("eu-1", "cd /var/lib/towpath; mv .trash/leaves-*Z leaves")
    three.change(REPLICATION, LEAVES.replace(", protect: true", "") + REPLICATION)
    three.change("nodes:\n", OTHER + "nodes:\n")
    three.towpath("apply", timeout=200)
    listed = three.towpath("ls", "other/apps/hello", "--user", "dev", env={"TOWPATH_PASSWORD": PASSWORD})
    assert "1.0" in listed.stdout


def test_a_host_that_left_is_asked_and_forgotten_only_by_name(three: Deployment) -> None:
    lab = three.lab
    three.change(AWAY, "")
    three.change(REPLICATION, "")
    three.change("      eu-2: {ssh: deploy@10.91.1.12, failureDomain: b}\n", "")
    lab.unplug("eu-2")
    silent = three.towpath("apply", check=False)
    assert silent.returncode == 7
    assert "towpath apply --forget eu-2" in silent.stderr
    lab.mend()
    assert "-  away" in three.towpath("plan").stdout.replace("eu-2  ", "")
    three.towpath("apply", timeout=200)
    assert not three.lab.on("eu-2", "ls /etc/towpath/inventory.json", check=False).stdout
    assert lab.on("eu-2", "systemctl is-active towpath-away", check=False).stdout.strip() == "inactive"
    kept = three.towpath("plan", "--detailed-exitcode")
    assert (kept.returncode, "an apply after that removes it" in kept.stdout) == (0, True)


def test_the_trash_of_a_host_that_left_goes_when_its_term_is_over(three: Deployment) -> None:
    lab, file = three.lab, three.folder / ".towpath" / "hosts.json"
    state = json.loads(file.read_text())
    assert (state["eu-2"]["nodes"], len(state["eu-2"]["trash"])) == ({}, 1)
    state["eu-2"]["trash"] = dict.fromkeys(state["eu-2"]["trash"], 1.0)
    file.write_text(json.dumps(state))
    lab.on("eu-2", """sed -i 's/"until": [0-9.]*/"until": 1.0/' /var/lib/towpath/.trash/*.json""")
    three.towpath("apply")
    assert lab.on("eu-2", TRASH).stdout == ""
    assert list(json.loads(file.read_text())) == ["eu-1"]


def test_destroy_is_meant_or_not_done(three: Deployment) -> None:
    shown = three.towpath("destroy", "--yes", check=False)
    assert (shown.returncode, "destroy-unconfirmed" in shown.stderr) == (4, True)
    assert three.towpath("destroy", "other", "--yes", check=False).returncode == 4
    shown = rows(three.towpath("destroy", "lab", "--yes", "-o", "json", timeout=200).stdout)
    assert {row["node"] for row in shown if row["operation"] == "node"} == {"stays", "leaves"}
    assert three.lab.on("eu-1", "ls /etc/systemd/system/ | grep -c towpath-", check=False).stdout.strip() == "0"
    kept = [each for each in three.lab.on("eu-1", TRASH).stdout.split() if not each.endswith(".json")]
    assert sorted(each.rpartition("-")[0] for each in kept) == ["leaves", "stays"]
    left = json.loads(Path(three.folder / ".towpath" / "hosts.json").read_text())
    assert {name: each["nodes"] for name, each in left.items()} == {"eu-1": {}}, "remembered for its trash"
    assert {name.rpartition("-")[0] for name in left["eu-1"]["trash"]} == {"stays", "leaves"}
