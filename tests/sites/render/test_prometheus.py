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


@pytest.fixture
def files(render: Render, tmp_path: Path) -> Path:
    """A folder with both, and the authority that they name."""
    into = tmp_path / "prometheus"
    into.mkdir()
    for name, text in render("prometheus").items():
        (into / name).write_text(text)
    (into / "towpath-ca.crt").write_text(PEM)
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


@pytest.mark.clients
def test_promtool_takes_both(files: Path) -> None:
    said = check(files, "check", "config", "--syntax-only", "prometheus.yml")
    assert "SUCCESS" in said
    assert "SUCCESS: 9 rules found" in check(files, "check", "rules", "towpath-rules.yml")


@pytest.mark.clients
def test_the_rules_fire_when_the_promise_is_broken(files: Path) -> None:
    """Prometheus' own rule tests: 2 % of errors is 40 times the budget of 99.95 %; one failure domain is not two."""
    shutil.copy(Path(__file__).parent / "data" / "rules-test.yml", files / "rules-test.yml")
    check(files, "test", "rules", "rules-test.yml")


def test_a_scope_without_an_sla_has_no_alert_of_its_own(files: Path) -> None:
    groups: list[dict[str, Any]] = yaml.safe_load((files / "towpath-rules.yml").read_text())["groups"]
    assert [each["name"] for each in groups] == ["shapes-nodes", "shapes-prod"]
