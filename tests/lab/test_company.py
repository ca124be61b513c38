"""First apply of a company on four hosts, then what it is for: images go in, are promoted, and come out elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.company import ACME, Company
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
NODES = {
    "eu-1": ["sandbox-eu", "ci-eu", "prod-eu-1"],
    "eu-2": ["prod-eu-2"],
    "us-1": ["prod-us-1"],
    "us-2": ["prod-us-2"],
}


@pytest.fixture(scope="module")
def acme(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """Applied once to empty machines; its tests use names of their own in it."""
    lab.reset()
    company = Company.found(lab, tmp_path_factory.mktemp("acme"), ACME)
    planned = company.towpath("plan", "-o", "json", "--detailed-exitcode", expect=3)
    added = {row["node"] for row in planned.rows if row["operation"] == "node" and row["sign"] == "+"}
    assert added == {node for nodes in NODES.values() for node in nodes}
    assert lab.on("eu-1", "ls /opt /etc/towpath /var/lib/towpath", check=False).stdout == "/opt:\n"
    company.towpath("apply")
    yield company


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A multi-platform image as ``oci:FOLDER:TAG``."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts" / "demo"))
    import image as made

    folder = tmp_path_factory.mktemp("image") / "api"
    made.make(folder, version="1.0", created="2026-01-01T00:00:00Z")
    return f"oci:{folder}:1.0"


def test_every_node_runs_where_it_was_declared(acme: Company) -> None:
    for host, nodes in NODES.items():
        units = acme.lab.on(host, "systemctl list-units --plain --no-legend 'towpath-*' | awk '{print $1, $4}'").stdout
        assert sorted(units.split()) == sorted(
            word for node in nodes for word in (f"towpath-{node}.service", "running")
        )
        assert acme.lab.on(host, "systemctl is-system-running").stdout.strip() == "running"


def test_a_second_apply_changes_nothing(acme: Company) -> None:
    before = {host: _started(acme, host) for host in NODES}
    again = acme.towpath("apply", "-o", "json")
    assert {row["outcome"] for row in again.rows} == {"unchanged"}
    assert acme.towpath("plan", "-o", "json", "--detailed-exitcode").rows == []
    assert acme.towpath("drift", "-o", "json").rows == []
    assert {host: _started(acme, host) for host in NODES} == before


def _started(company: Company, host: str) -> str:
    """When its nodes started and when its files were written."""
    units = " ".join(f"towpath-{node}" for node in NODES[host])
    started = f"systemctl show -P ExecMainStartTimestampMonotonic {units}"
    return company.lab.on(host, f"{started}; find /etc/towpath /opt/towpath -printf '%p %T@\\n' | sort").stdout


def test_a_developer_pushes_to_the_sandbox_and_pulls(acme: Company, image: str, tmp_path: Path) -> None:
    dev = f"dev:{acme.secret('dev.password')}"
    at = f"docker://{acme.lab.hosts['eu-1'].address}:5001/apps/api:1.0"
    acme.skopeo("copy", "--all", "--dest-creds", dev, image, at)
    copied = f"oci:{tmp_path / 'back'}:1.0"
    acme.skopeo("copy", "--all", "--src-creds", dev, at, copied, at="eu-2")
    assert _digest(tmp_path / "back") == _digest(Path(image.split(":")[1]))


def _digest(layout: Path) -> str:
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def test_ci_promotes_and_a_cluster_in_us_pulls_from_its_own_site(acme: Company, image: str, tmp_path: Path) -> None:
    robot = f"ci-runner:{acme.secret('ci-runner.token')}"
    at = f"docker://{acme.lab.hosts['eu-1'].address}:5002/apps/api:v1.0"
    acme.skopeo("copy", "--all", "--dest-creds", robot, image, at)
    as_robot = {"TOWPATH_USER": "ci-runner", "TOWPATH_TOKEN": acme.secret("ci-runner.token")}
    acme.towpath("promote", "to-prod", "apps/api:v1.0", env=as_robot, expect=4)
    acme.towpath("sign", "--key", "secrets/release.key", "ci/apps/api:v1.0", env=as_robot)
    acme.towpath("promote", "to-prod", "apps/api:v1.0", env=as_robot)
    acme.towpath("replicate", "prod-everywhere", env=as_robot)
    pulled = f"oci:{tmp_path / 'back'}:1.0"
    cluster = f"k8s-us:{acme.secret('k8s-us.token')}"
    for host in ("us-1", "us-2"):
        source = f"docker://{acme.lab.hosts[host].address}:5003/apps/api:v1.0"
        acme.skopeo("copy", "--all", "--src-creds", cluster, source, pulled, at="us-2")
        assert _digest(tmp_path / "back") == _digest(Path(image.split(":")[1]))
    elsewhere = f"docker://{acme.lab.hosts['eu-2'].address}:5003/apps/api:v1.0"
    refused = acme.skopeo("inspect", "--creds", cluster, elsewhere, check=False)
    assert refused.returncode != 0, "the cluster in us may pull in us only"


def test_secrets_lie_with_root_and_are_told_nowhere(acme: Company) -> None:
    secrets = [acme.secret(name) for name in ("ci-runner.token", "k8s-us.token", "dev.password")]
    files = "cat /etc/towpath/*/settings.json /etc/systemd/system/towpath-* /etc/towpath/inventory.json"
    told = acme.lab.on("eu-1", f"ps auxeww; journalctl --namespace='*' --no-pager -o export; {files}").stdout
    assert "-m registry_node" in told
    assert [secret for secret in secrets if secret in told] == []
    found = acme.lab.on("eu-1", "find /etc/towpath -path '*/credentials/*' -printf '%m %u %g\\n'").stdout.split("\n")[
        :-1
    ]
    assert set(found) <= {"600 root root"}
    assert acme.lab.on("eu-1", "find /etc/towpath /var/lib/towpath /opt/towpath -perm /002 ! -type l").stdout == ""
    assert acme.lab.ssh("eu-1", "cat /etc/towpath/sandbox-eu/settings.json", check=False).returncode != 0


def test_units_are_confined(acme: Company) -> None:
    said = acme.lab.on("eu-1", "systemd-analyze security --no-pager towpath-sandbox-eu.service").stdout
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert score is not None
    assert float(score[1]) < 2.5
    user = acme.lab.on("eu-1", "ps -o user= -p $(systemctl show -P MainPID towpath-sandbox-eu)").stdout.strip()
    assert user == "towpath"


def test_a_killed_host_serves_again_after_its_start(acme: Company) -> None:
    acme.lab.kill("eu-2")
    assert acme.towpath("status", "-o", "json", expect=7).rows
    acme.lab.start("eu-2")
    acme.lab.on("eu-2", "systemctl is-system-running --wait")
    assert acme.active("eu-2", "prod-eu-2")
    acme.towpath("status")


def test_a_changed_setting_reaches_its_node_alone(acme: Company) -> None:
    acme.edit("quota: {bytes: 1GiB", "quota: {bytes: 2GiB")
    before = {host: _started(acme, host) for host in ("eu-2", "us-1", "us-2")}
    (row,) = acme.towpath("plan", "-o", "json").rows
    assert (row["node"], row["sign"]) == ("sandbox-eu", "~")
    assert "2 GiB" in row["change"]
    acme.towpath("apply")
    assert {host: _started(acme, host) for host in ("eu-2", "us-1", "us-2")} == before
    assert acme.towpath("plan", "-o", "json").rows == []
