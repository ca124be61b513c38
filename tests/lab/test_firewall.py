"""A host with a firewall of ours: who gets in, what survives, where its nodes log to, and what Prometheus reads there."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployed import PASSWORD, TOKEN, Deployment, image
from tests.lab.lab import Lab
from tests.tools import require

pytestmark = pytest.mark.lab

CLOSED = """\
sites:
  eu:
    firewall: {allow: [10.90.1.0/24]}
    hosts: {eu-1: {ssh: deploy@10.91.1.11, failureDomain: a}}
  six:
    firewall: {allow: ['fd00:90::/32']}
    hosts: {us-2: {ssh: 'deploy@[fd00:92::12]', failureDomain: b, proxy: {method: port}}}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
  robot: {robot: true, token: {file: secrets/robot.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox:
    class: dev
    grants: [{to: dev, allow: [pull, push, delete]}]
    quota: {bytes: 1GiB}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
  apps:
    class: ci
    grants: [{to: robot, allow: [pull, push]}]
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  apps-six: {kind: local, scope: apps, site: six, host: us-2, port: 5006, proxy: none}
  front-six:
    {kind: virtual, site: six, host: us-2, port: 5007, proxy: {port: 8007}, members: [apps-six],
     owns: {'**': [apps-six]}, unmatched: deny}
"""
SIX = "fd00:92::12"
# What somebody does by hand, and what drift says of it: operation and the end of its line.
BY_HAND = (
    ("nft add rule inet towpath input tcp dport 9 accept", "firewall", "table inet towpath was changed by hand"),
    ("touch /etc/systemd/system/towpath-firewall.service", "firewall", "runs on an older unit file"),
    ("echo '# mine' >> /etc/systemd/journald@towpath.conf", "logs", "journald@towpath.conf was edited"),
    ("chmod 0644 /etc/towpath/inventory.json", "inventory", "is 0644 root:root"),
    ("chown deploy /etc/towpath/sandbox-eu/credentials", "directory", "credentials is 0700 deploy:root"),
    ("chmod 0644 /etc/towpath/sandbox-eu/credentials/tls.key", "file", "tls.key is 0644 root:root"),
    ("ln -sf /etc/passwd /etc/towpath/sandbox-eu/tls.crt", "file", "tls.crt is a link to /etc/passwd"),
    ("touch /etc/towpath/sandbox-eu/settings.json~", "unmanaged", "settings.json~ was put there by somebody"),
    ("chmod 0777 /var/lib/towpath/sandbox-eu", "data", "/var/lib/towpath/sandbox-eu is 0777 towpath:towpath"),
    ("chmod 0666 /opt/towpath/nodes/sandbox-eu/registry_node/app.py", "release", "was edited: registry_node/app.py"),
    ("systemctl disable towpath-sandbox-eu", "process", "towpath-sandbox-eu.service is masked at boot"),
    ("ln -sf /dev/null /etc/systemd/system/towpath-sandbox-eu.service", "file", "is a link to /dev/null"),
)


@pytest.fixture(scope="module")
def closed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    lab.reset("eu-1", "us-2")
    lab.on("eu-1", "nft add table inet theirs && nft add chain inet theirs kept")
    deployment = Deployment(lab, tmp_path_factory.mktemp("closed"), CLOSED)
    deployment.towpath("apply")
    yield deployment


def reaches(lab: Lab, place: str, port: int = 5001, address: str = "10.91.1.11") -> bool:
    """Whether a client on a host's network (""; the operator's) gets a connection to eu-1."""
    try_it = f"import socket; socket.create_connection(('{address}', {port}), 1).close()"
    return lab.run(["python3", "-I", "-c", try_it], at=place, check=False).returncode == 0


def rows_of(said: str) -> list[dict[str, str]]:
    """Of what a verb printed with ``-o json``."""
    return [each for each in map(json.loads, said.splitlines()) if each["type"] == "row"]


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


def test_what_somebody_does_by_hand_is_drift_and_apply_undoes_it(closed: Deployment) -> None:
    lab = closed.lab
    for line, _, _ in BY_HAND:
        lab.on("eu-1", line)
    lab.on("eu-1", "systemctl daemon-reload && touch /etc/systemd/system/towpath-firewall.service")
    drifted = closed.towpath("drift", "-o", "json", check=False)
    rows = rows_of(drifted.stdout)
    for line, operation, said in BY_HAND:
        found = [row for row in rows if row["operation"] == operation and row["change"].endswith(said)]
        assert len(found) == 1, f"{line}: {rows}"
    assert (drifted.returncode, len(rows)) == (3, len(BY_HAND)), rows
    (changed,) = (row for row in rows if row["change"] == "table inet towpath was changed by hand")
    assert "-\t\ttcp dport 9 accept" in changed["diff"].splitlines()
    closed.towpath("apply")
    after = closed.towpath("drift", "-o", "json", check=False)
    assert [row["operation"] for row in rows_of(after.stdout)] == ["unmanaged"]
    lab.on("eu-1", "rm /etc/towpath/sandbox-eu/settings.json~")
    assert closed.towpath("drift").returncode == 0
    assert closed.towpath("plan", "--detailed-exitcode").returncode == 0
    assert only_those_allowed(lab)


def test_a_host_that_is_known_by_its_ipv6_address_is_deployed_to_guarded_and_served(
    closed: Deployment, tmp_path: Path
) -> None:
    """The health gate has passed at that address already: ``apply`` asked the node there."""
    lab, url = closed.lab, f"https://[{SIX}]:5006"
    assert reaches(lab, "", 5006, SIX) and reaches(lab, "us-2", 5006, SIX)
    assert not reaches(lab, "us-1", 5006, SIX) and not reaches(lab, "", 5006, "10.92.1.12")
    assert reaches(lab, "us-1", 22, SIX)
    told = lab.run(
        [
            "curl",
            "-gsS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{ssl_verify_result}",
            "--cacert",
            str(closed.folder / "pki" / "ca.crt"),
            f"{url}/v2/",
        ]
    )
    assert told.stdout == "401 0", "the certificate says the address"
    target = f"[{SIX}]:5006/team/hello:1.0"
    believed = {"SSL_CERT_FILE": str(closed.folder / "pki" / "ca.crt"), "DOCKER_CONFIG": str(tmp_path)}
    login = base64.b64encode(f"robot:{TOKEN}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {f"[{SIX}]:5006": {"auth": login}}}))
    lab.run(["crane", "push", str(image(tmp_path / "image")), target], env=believed)
    pulled = lab.run(["crane", "manifest", target], env=believed)
    assert json.loads(pulled.stdout)["schemaVersion"] == 2
    assert "active" in closed.towpath("status").stdout
    as_robot = {"TOWPATH_TOKEN": TOKEN}
    assert "team/hello" in closed.towpath("ls", "apps-six", "--user", "robot", env=as_robot).stdout
    assert f"[{SIX}]:8007" in closed.towpath("setup", "containerd", "front-six").stdout
    behind = lab.run(["curl", "-gsS", "-i", "--cacert", believed["SSL_CERT_FILE"], f"https://[{SIX}]:8007/v2/"])
    assert "401" in behind.stdout and f"https://[{SIX}]:8007/" in behind.stdout, (
        "nginx serves there, and is told of itself"
    )


def test_nobody_shuts_himself_out(closed: Deployment) -> None:
    closed.change("[10.90.1.0/24]", "[10.92.0.0/16]")
    refused = closed.towpath("plan", "-o", "json", check=False)
    assert "firewall-shuts-us-out" in refused.stderr and "10.90.1.2" in refused.stderr
    assert only_those_allowed(closed.lab)
    closed.change("[10.92.0.0/16]", "[10.90.1.0/24]")


def test_our_units_are_confined(closed: Deployment) -> None:
    """The one of the journal is systemd itself."""
    for unit in ("towpath-sandbox-eu", "towpath-firewall"):
        said = closed.lab.on("eu-1", f"systemd-analyze security --no-pager {unit}.service | tail -1").stdout
        assert float(said.rpartition(": ")[2].split()[0]) <= 2.0, f"docs/guides/deploying.md says what it is: {said}"


def test_nodes_log_to_a_journal_of_their_own(closed: Deployment) -> None:
    shown = closed.lab.on("eu-1", "journalctl --namespace=towpath -u towpath-sandbox-eu -o cat").stdout
    assert '"event": "ready"' in shown
    assert '"event": "ready"' not in closed.lab.on("eu-1", "journalctl -o cat").stdout
    both = closed.lab.on("eu-1", "journalctl --namespace=+towpath -u towpath-sandbox-eu -o cat").stdout
    assert '"event": "ready"' in both and "Started towpath-sandbox-eu.service" in both
    assert '"status": ' in closed.lab.on("eu-1", "systemctl status towpath-sandbox-eu --no-pager").stdout
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
            found = asked(lab, "http://127.0.0.1:9390/api/v1/query?query=towpath_build_info%7Bnode=%22sandbox-eu%22%7D")
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
    closed.change("    firewall: {allow: ['fd00:90::/32']}\n", "")
    closed.lab.on("eu-1", "rm /etc/systemd/system/towpath-firewall.service")  # systemd would know no ExecStop
    planned = closed.towpath("plan", "-o", "json")
    rows = rows_of(planned.stdout)
    assert [(row["host"], row["sign"], row["operation"]) for row in rows] == [
        ("eu-1", "-", "firewall"),
        ("us-2", "-", "firewall"),
    ]
    closed.towpath("apply")
    assert reaches(closed.lab, "us-1") and reaches(closed.lab, "us-1", 5006, SIX)
    for host in ("eu-1", "us-2"):
        left = "find -L /etc/systemd/system -type l; ls /etc/towpath; nft list tables"
        assert "firewall" not in (said := closed.lab.on(host, left).stdout) and "inet towpath" not in said
    assert closed.towpath("plan", "--detailed-exitcode").returncode == 0
