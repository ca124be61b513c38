"""`towpath render nginx` and `systemd`: the texts that apply lays down, for others to lay down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sites.desired.proxy import configurations
from sites.render.hosts import on_hosts
from tests.sites import deployed
from tests.tools import require
from towpath.main import run

BEHIND = ("eu-2: {ssh:", "eu-2: {proxy: {method: subdomain, domain: r.example}, ssh:")
ALL = ("sandbox-1", "sandbox-2", "ci-2", "hub-2", "all-2")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def test_nginx_is_told_the_same_as_on_hosts(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    declared = deployed.topology(base, BEHIND)
    laid_down = deployed.hosts(declared, base)["eu-2"].proxy.files[-1].content.decode()
    assert configurations(declared, ALL) == {"eu-2": laid_down}
    (base / "topology.yaml").write_text(deployed.TOPOLOGY.replace(*BEHIND))
    assert run(["render", "nginx", "-f", str(base / "topology.yaml")]) == 0
    assert capsys.readouterr().out.rstrip() == laid_down.rstrip()
    assert run(["render", "nginx", "-f", str(base / "topology.yaml"), "--to", str(base / "out")]) == 0
    assert (base / "out" / "eu-2" / "towpath.conf").read_text() == laid_down


def test_without_a_proxy_there_is_nothing_for_nginx(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "topology.yaml").write_text(deployed.TOPOLOGY)
    assert run(["render", "nginx", "-f", str(base / "topology.yaml")]) == 2
    assert "no node stands behind a proxy" in capsys.readouterr().err


def test_keys_are_not_printed(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (base / "topology.yaml").write_text(deployed.TOPOLOGY)
    assert run(["render", "systemd", "-f", str(base / "topology.yaml")]) == 2
    said = capsys.readouterr()
    assert "add --to FOLDER" in said.err and said.out == ""


def test_what_is_rendered_is_what_lies_on_a_host(base: Path, tmp_path: Path) -> None:
    hosts = deployed.hosts(deployed.topology(base, BEHIND), base)
    files = on_hosts(hosts, ["ci-2"])
    node = next(each for each in hosts["eu-2"].nodes if each.name == "ci-2")
    for each in (*node.files, *hosts["eu-2"].proxy.files):
        assert files[f"eu-2{each.path}"] == each.content.decode()
    assert not [each for each in files if each.startswith("eu-1/") or "sandbox-2/" in each]
    steps = files["eu-2/INSTALL.sh"]
    assert "install -D -m 0600 -o root -g root ./etc/towpath/.proxy/ci-2.key /etc/towpath/.proxy/ci-2.key\n" in steps
    assert "systemctl enable --now towpath-ci-2.service\n" in steps
    (tmp_path / "INSTALL.sh").write_text(steps)
    subprocess.run(["/bin/sh", "-n", str(tmp_path / "INSTALL.sh")], check=True)


def test_systemd_takes_the_units(base: Path, tmp_path: Path) -> None:
    """systemd-analyze(1), verify: it says what is wrong in a unit; of the program only whether it is there."""
    program = require("systemd-analyze")
    for path, text in on_hosts(deployed.hosts(deployed.topology(base), base), ALL).items():
        if path.endswith(".service"):
            unit = tmp_path / path.rpartition("/")[2]
            unit.write_text(text.replace("/usr/bin/python3", "/bin/sh"))
            done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
            said = [line for line in done.stderr.splitlines() if unit.name in line]
            assert (done.returncode, said) == (0, []), done.stderr
    assert len(list(tmp_path.glob("*.service"))) == len(ALL)
