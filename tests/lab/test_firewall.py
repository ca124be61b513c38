"""A host with a firewall of ours: who gets in, what survives, where its nodes log to, and what Prometheus reads there."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab.deployed import PASSWORD, TOKEN, Deployment
from tests.lab.lab import Lab
from tests.tools import require

pytestmark = pytest.mark.lab

CLOSED = """\
sites:
  eu:
    firewall: {allow: [10.90.1.0/24]}
    hosts: {eu-1: {ssh: deploy@10.91.1.11, failureDomain: a}}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox:
    class: dev
    grants: [{to: dev, allow: [pull, push, delete]}]
    quota: {bytes: 1GiB}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
"""


@pytest.fixture(scope="module")
def closed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    lab.reset("eu-1")
    lab.on("eu-1", "nft add table inet theirs && nft add chain inet theirs kept")
    deployment = Deployment(lab, tmp_path_factory.mktemp("closed"), CLOSED)
    deployment.towpath("apply")
    yield deployment


def reaches(lab: Lab, place: str, port: int = 5001) -> bool:
    """Whether a client on a host's network (""; the operator's) gets a connection to eu-1."""
    try_it = f"import socket; socket.create_connection(('10.91.1.11', {port}), 1).close()"
    return lab.run(["python3", "-I", "-c", try_it], at=place, check=False).returncode == 0


def only_those_allowed(lab: Lab) -> bool:
    return reaches(lab, "") and reaches(lab, "eu-1") and not reaches(lab, "us-1")


def test_only_those_allowed_get_in_and_only_our_port_is_judged(closed: Deployment) -> None:
    assert only_those_allowed(closed.lab)
    assert reaches(closed.lab, "us-1", 22), "ssh is no port of ours"
    tables = closed.lab.on("eu-1", "nft list tables").stdout
    assert "table inet towpath" in tables and "table inet theirs" in tables


@pytest.mark.parametrize(
    "what",
    [
        "systemctl restart towpath-firewall",
        "systemctl start nftables && ! nft list table inet theirs",  # Debian's begins with `flush ruleset`
        "systemctl reload nftables",
        "systemctl restart nftables",
    ],
)
def test_it_survives_what_an_operator_does(closed: Deployment, what: str) -> None:
    closed.lab.on("eu-1", what)
    assert only_those_allowed(closed.lab)


def test_it_survives_a_power_cut_and_a_second_apply_has_nothing_to_do(closed: Deployment) -> None:
    closed.lab.kill("eu-1")
    closed.lab.start("eu-1")
    closed.lab.on("eu-1", "systemctl is-active --wait towpath-firewall; systemctl start towpath-sandbox-eu")
    assert only_those_allowed(closed.lab)
    assert closed.towpath("plan", "--detailed-exitcode").returncode == 0
    assert closed.towpath("drift").returncode == 0


def test_rules_that_somebody_flushed_are_drift_and_come_back(closed: Deployment) -> None:
    closed.lab.on("eu-1", "nft delete table inet towpath")
    assert reaches(closed.lab, "us-1")
    drifted = closed.towpath("drift", check=False)
    assert (drifted.returncode, "table inet towpath is not loaded" in drifted.stdout) == (3, True)
    closed.towpath("apply")
    assert only_those_allowed(closed.lab)


def test_nobody_shuts_himself_out(closed: Deployment) -> None:
    closed.change("[10.90.1.0/24]", "[10.92.0.0/16]")
    refused = closed.towpath("plan", "-o", "json", check=False)
    assert "firewall-shuts-us-out" in refused.stderr and "10.90.1.2" in refused.stderr
    assert only_those_allowed(closed.lab)
    closed.change("[10.92.0.0/16]", "[10.90.1.0/24]")


def test_nodes_log_to_a_journal_of_their_own(closed: Deployment) -> None:
    shown = closed.lab.on("eu-1", "journalctl --namespace=towpath -u towpath-sandbox-eu -o cat").stdout
    assert '"event": "ready"' in shown
    assert '"event": "ready"' not in closed.lab.on("eu-1", "journalctl -o cat").stdout
    both = closed.lab.on("eu-1", "journalctl --namespace=+towpath -u towpath-sandbox-eu -o cat").stdout
    assert '"event": "ready"' in both and "Started towpath-sandbox-eu.service" in both
    assert "ready" in closed.lab.on("eu-1", "systemctl status towpath-sandbox-eu --no-pager").stdout
    for secret in (PASSWORD, TOKEN):
        found = closed.lab.on("eu-1", f"journalctl --namespace='*' -o cat | grep -cF -e '{secret}'", check=False)
        assert found.stdout.strip() == "0"


def test_prometheus_reads_a_node_with_what_is_rendered_for_it(closed: Deployment) -> None:
    into, lab = closed.folder / "prometheus", closed.lab
    closed.towpath("render", "prometheus", "--to", str(into))
    config = into / "prometheus.yml"
    config.write_text(config.read_text().replace("scrape_interval: 15s", "scrape_interval: 1s"))  # a test is in a hurry
    words = [f"--config.file={config}", f"--storage.tsdb.path={into / 'data'}", "--web.listen-address=127.0.0.1:9390"]
    with subprocess.Popen(
        lab.argv([require("prometheus"), *words]), env=lab.environment(), stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            found = asked(lab, "http://127.0.0.1:9390/api/v1/query?query=towpath_build_info")
        finally:
            running.terminate()
    link = lab.on("eu-1", "readlink /opt/towpath/nodes/sandbox-eu").stdout.strip()
    assert found["release"] == link.rpartition("/")[2]
    assert {name: found[name] for name in ("node", "site", "host", "scope")} == {
        "node": "sandbox-eu",
        "site": "eu",
        "host": "eu-1",
        "scope": "sandbox",
    }
    text = lab.run(["curl", "-sS", "--cacert", str(into / "towpath-ca.crt"), "https://10.91.1.11:5001/metrics"]).stdout
    assert "process_resident_memory_bytes" in text, "the unit hides /proc/stat"
    assert "registry_storage_free_bytes" in text


def asked(lab: Lab, question: str) -> dict[str, str]:
    """The labels of the one series that answers it, when there is one."""
    said = "nothing"
    for _ in range(60):
        said = lab.run(["curl", "-sS", question], check=False).stdout
        if said.startswith("{") and (result := json.loads(said)["data"]["result"]):
            return dict(result[0]["metric"])
        time.sleep(0.25)
    raise AssertionError(f"prometheus says {said}")


def test_a_firewall_that_is_declared_no_more_is_gone(closed: Deployment) -> None:
    closed.change("    firewall: {allow: [10.90.1.0/24]}\n", "")
    planned = closed.towpath("plan", "-o", "json")
    (row,) = (each for each in map(json.loads, planned.stdout.splitlines()) if each["type"] == "row")
    assert (row["sign"], row["operation"]) == ("-", "firewall")
    closed.towpath("apply")
    assert reaches(closed.lab, "us-1")
    assert closed.lab.on("eu-1", "test -e /etc/towpath/firewall.nft", check=False).returncode == 1
    assert closed.towpath("plan", "--detailed-exitcode").returncode == 0
