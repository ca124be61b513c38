"""plan and apply on real systemd hosts: the first time, the second time, and after somebody's hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployed import PASSWORD, TOKEN, Deployment, image
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

ONE_NODE = """\
sites:
  eu: {hosts: {eu-1: {ssh: deploy@10.91.1.11, failureDomain: a}}}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
  robot: {robot: true, token: {file: secrets/robot.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox:
    class: dev
    grants: [{to: dev, allow: [pull, push, delete]}, {to: robot, allow: [pull]}]
    quota: {bytes: 1GiB}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
"""
UNIT = "towpath-sandbox-eu.service"


@pytest.fixture(scope="module")
def one(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One node on eu-1, applied once; the tests go on from there, in their order."""
    lab.reset("eu-1")
    deployment = Deployment(lab, tmp_path_factory.mktemp("one"), ONE_NODE)
    planned = deployment.towpath("plan", "--detailed-exitcode", check=False)
    assert planned.returncode == 3, planned.stderr
    assert "Plan: 5 to add, 0 to change, 0 to destroy." in planned.stderr
    applied = deployment.towpath("apply")
    assert "sandbox-eu runs and serves" in applied.stderr
    yield deployment


def test_a_real_client_pushes_and_pulls(one: Deployment, tmp_path: Path) -> None:
    target = "docker://10.91.1.11:5001/apps/hello:1.0"
    source = f"oci:{image(tmp_path / 'image')}:1.0"
    one.skopeo("copy", "--dest-creds", f"dev:{PASSWORD}", "--dest-cert-dir", one.certificates, source, target)
    words = ("--creds", f"robot:{TOKEN}", "--cert-dir", one.certificates)
    pulled = one.skopeo("inspect", *words, target)
    assert json.loads(pulled.stdout)["Os"] == "linux"
    listed = one.towpath("ls", "sandbox/apps/hello", "--user", "dev", env={"TOWPATH_PASSWORD": PASSWORD})
    assert "1.0" in listed.stdout


def test_a_second_apply_changes_nothing(one: Deployment) -> None:
    before = one.lab.on("eu-1", f"systemctl show -p MainPID {UNIT}; cat /etc/towpath/inventory.json").stdout
    assert one.towpath("plan", "--detailed-exitcode").returncode == 0
    assert "Nothing to do." in one.towpath("apply").stderr
    assert one.lab.on("eu-1", f"systemctl show -p MainPID {UNIT}; cat /etc/towpath/inventory.json").stdout == before


def test_the_unit_is_closed_and_the_files_are_their_owners(one: Deployment) -> None:
    shown = one.lab.on("eu-1", f"systemd-analyze security --no-pager {UNIT} | tail -1").stdout
    assert float(shown.rpartition(": ")[2].split()[0]) < 2.5
    listed = one.lab.on("eu-1", "cd /etc/towpath/sandbox-eu; stat -c '%a %U:%G %n' settings.json credentials/*")
    assert listed.stdout.splitlines() == ["640 root:towpath settings.json", "600 root:root credentials/tls.key"]


def test_no_secret_is_on_the_host_but_where_it_must_be(one: Deployment) -> None:
    engine = (one.folder / ".towpath" / "secrets" / "engine.token").read_text().strip()
    for secret in (engine, TOKEN, PASSWORD):
        found = one.lab.on(
            "eu-1", f"grep -rlF -e '{secret}' /etc/towpath /var/lib/towpath /opt/towpath/nodes /var/log", check=False
        )
        assert found.stdout == ""
        assert (
            one.lab.on(
                "eu-1", f"journalctl --namespace='*' -o cat | grep -cF -e '{secret}'", check=False
            ).stdout.strip()
            == "0"
        )


def test_a_hand_edit_is_drift_and_apply_mends_it(one: Deployment) -> None:
    assert one.towpath("drift").returncode == 0
    one.lab.on("eu-1", f"sed -i 's/^WatchdogSec=.*/WatchdogSec=0/' /etc/systemd/system/{UNIT}")
    one.lab.on("eu-1", "chmod 644 /etc/towpath/sandbox-eu/settings.json")
    drifted = one.towpath("drift", "--full", check=False)
    assert drifted.returncode == 3
    assert "-WatchdogSec=0" in drifted.stdout and "+WatchdogSec=30" in drifted.stdout
    assert f"{UNIT} was edited" in drifted.stdout
    assert "settings.json is 0644 root:towpath" in drifted.stdout
    one.towpath("apply")
    assert one.towpath("drift").returncode == 0
    assert one.lab.on("eu-1", f"systemctl show -p WatchdogUSec --value {UNIT}").stdout.strip() == "30s"


def test_new_people_reach_the_running_node(one: Deployment) -> None:
    before = one.lab.on("eu-1", f"systemctl show -p MainPID --value {UNIT}").stdout
    one.change("{to: robot, allow: [pull]}", "{to: robot, allow: [pull, push]}")
    planned = one.towpath("plan", "-o", "json")
    (row,) = (each for each in map(json.loads, planned.stdout.splitlines()) if each["type"] == "row")
    assert (row["operation"], row["node"], row["host"]) == ("grants", "sandbox-eu", "eu-1")
    assert row["place"].endswith("topology.yaml:13")
    one.towpath("apply")
    assert one.lab.on("eu-1", f"systemctl show -p MainPID --value {UNIT}").stdout == before


def test_up_and_apply_do_not_share_a_state_folder(one: Deployment) -> None:
    refused = one.towpath("up", "--detach", check=False)
    assert refused.returncode == 2
    assert "state-of-another-deployment" in refused.stderr
