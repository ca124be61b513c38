"""Scrape configuration and rules, read by Prometheus' own checker and run by its own rule tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sites.render.conftest import PEM, Render
from tests.tools import require
from towpath.main import run


@pytest.fixture
def files(render: Render, tmp_path: Path) -> Path:
    """A folder with both, and the authority that they name."""
    into = tmp_path / "prometheus"
    into.mkdir()
    for name, text in render("prometheus").items():
        (into / name).write_text(text)
    return into


def check(folder: Path, *words: str, expect: int = 0) -> str:
    done = subprocess.run(
        [require("promtool"), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def test_every_node_is_scraped_where_it_answers(files: Path) -> None:
    jobs = yaml.safe_load((files / "prometheus.yml").read_text())["scrape_configs"]
    targets = {each["labels"]["node"]: each for job in jobs for each in job["static_configs"]}
    assert targets["prod-us"]["targets"] == ["10.2.0.11:5002"]
    assert targets["prod-us"]["labels"] == {
        "topology": "shapes",
        "node": "prod-us",
        "kind": "local",
        "site": "us",
        "host": "us-1",
        "scope": "prod",
        "role": "replica",
        "failure_domain": "us-a",
    }
    assert set(targets) == {"pool-eu", "prod-eu", "prod-us", "cache", "all"}
    assert [job["scheme"] for job in jobs] == ["https"]


def test_a_node_behind_a_path_is_scraped_below_it(render: Render, folder: Path) -> None:
    text = (folder / "topology.yaml").read_text()
    behind = "us-1: {address: 10.2.0.11, proxy: {method: path, domain: r.example}"
    (folder / "topology.yaml").write_text(text.replace("us-1: {address: 10.2.0.11", behind))
    (job,) = yaml.safe_load(render("prometheus")["prometheus.yml"])["scrape_configs"]
    (found,) = [each for each in job["static_configs"] if each["labels"]["node"] == "prod-us"]
    assert (found["targets"], found["labels"]["__metrics_path__"]) == (["r.example:443"], "/prod-us/metrics")


def test_the_authority_comes_along_and_is_named(files: Path) -> None:
    assert (files / "towpath-ca.crt").read_text() == PEM
    (job,) = yaml.safe_load((files / "prometheus.yml").read_text())["scrape_configs"]
    assert job["tls_config"] == {"ca_file": "towpath-ca.crt"}


KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ==\n-----END PRIVATE KEY-----\n"


def test_a_key_beside_the_authority_s_certificate_is_given_to_nobody(render: Render, folder: Path) -> None:
    for both in (KEY + PEM, PEM + KEY):
        (folder / "ca.crt").write_text(both)
        assert render("prometheus")["towpath-ca.crt"] == PEM


def test_certificates_of_a_node_s_own_are_judged_by_the_system(render: Render, folder: Path) -> None:
    """Its issuer is not in the topology, and the topology's authority did not sign it."""
    text = (folder / "topology.yaml").read_text()
    own = "port: 5001, tls: {cert: own.crt, key: {env: CA_KEY}}}"
    (folder / "topology.yaml").write_text(text.replace("host: eu-1, port: 5001}", f"host: eu-1, {own}"))
    jobs = yaml.safe_load(render("prometheus")["prometheus.yml"])["scrape_configs"]
    found = {job["job_name"]: (job.get("tls_config"), len(job["static_configs"])) for job in jobs}
    assert found == {"towpath": ({"ca_file": "towpath-ca.crt"}, 4), "towpath-own-certificates": (None, 1)}


def test_an_ipv6_host_is_written_in_brackets(render: Render, folder: Path) -> None:
    text = (folder / "topology.yaml").read_text()
    (folder / "topology.yaml").write_text(text.replace("address: 10.2.0.11", "address: 'fd00:2::11'"))
    (job,) = yaml.safe_load(render("prometheus")["prometheus.yml"])["scrape_configs"]
    assert "[fd00:2::11]:5002" in [address for each in job["static_configs"] for address in each["targets"]]


def test_prometheus_may_read_what_is_written_for_it(folder: Path, tmp_path: Path) -> None:
    """Its daemon has a user of its own, and nothing of this is secret."""
    into = tmp_path / "etc"
    assert run(["render", "prometheus", "--to", str(into), "-f", str(folder / "topology.yaml")]) == 0
    assert {each.name: each.stat().st_mode & 0o777 for each in into.iterdir()} == dict.fromkeys(
        ("prometheus.yml", "towpath-rules.yml", "towpath-ca.crt"), 0o644
    )


@pytest.mark.clients
def test_promtool_takes_both(files: Path) -> None:
    said = check(files, "check", "config", "--syntax-only", "prometheus.yml")
    assert "SUCCESS" in said
    assert "SUCCESS: 10 rules found" in check(files, "check", "rules", "towpath-rules.yml")


@pytest.mark.clients
def test_the_rules_fire_when_the_promise_is_broken(files: Path) -> None:
    """Prometheus' own rule tests: 2 % of errors is 40 times the budget of 99.95 %; one failure domain is not two."""
    shutil.copy(Path(__file__).parent / "data" / "rules-test.yml", files / "rules-test.yml")
    check(files, "test", "rules", "rules-test.yml")


def test_a_scope_without_an_sla_has_no_alert_of_its_own(files: Path) -> None:
    groups: list[dict[str, Any]] = yaml.safe_load((files / "towpath-rules.yml").read_text())["groups"]
    assert [each["name"] for each in groups] == ["shapes-nodes", "shapes-prod"]
