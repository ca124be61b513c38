"""Each file of bad/ marks its wrong lines with ``# <- CODE``: exactly those findings appear, in one run, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from topology.explain import every
from topology.findings import Severity
from topology.load import load
from topology.report import as_records, as_sarif, as_text
from topology.rules import RULES
from topology.rules.subject import PLAN

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MARK = re.compile(r"# <- ([A-Z0-9 ]+)$")


def marked(path: Path) -> list[tuple[int, str]]:
    lines = enumerate(path.read_text().splitlines(), start=1)
    return sorted((number, code) for number, line in lines if (found := MARK.search(line)) for code in found[1].split())


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_exactly_the_marked_lines_are_found(path: Path) -> None:
    loaded = load(path)
    assert [(each.line, each.code) for each in loaded.findings] == marked(path), as_text(loaded.findings)


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_output_shows_a_secret(path: Path) -> None:
    findings = load(path).findings
    shown = as_text(findings) + str(as_records(findings)) + as_sarif(findings, "0") + repr(findings)
    assert "canary" not in shown


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_topology_is_whole_or_absent(path: Path) -> None:
    loaded = load(path)
    unread = any(each.code.startswith("T") or each.code == "S9" for each in loaded.findings)
    assert (loaded.topology is None) == unread


def test_every_rule_that_is_checked_has_a_bad_example() -> None:
    covered = {code for path in BAD for _, code in marked(path)}
    assert {rule.code for rule in RULES if rule.stage not in ("", PLAN)} - covered == set()


def test_every_code_of_a_file_has_a_bad_example() -> None:
    covered = {code for path in BAD for _, code in marked(path)}
    elsewhere = {"T004", "T020", "T021", "T022"}  # about files beside the topology: test_load.py, test_secrets.py
    elsewhere |= {
        rule.code for rule in RULES if rule.stage == PLAN
    }  # about running nodes: tests/sites, tests/promotions
    assert {code for code, about in every().items() if about.checked} - covered == elsewhere


def test_severities_are_those_of_the_table() -> None:
    table = {code: about.severity for code, about in every().items()}
    for path in BAD:
        assert all(each.severity is table[each.code] for each in load(path).findings), path
    assert table["S2"] is Severity.WARNING


@pytest.mark.parametrize("name", ["acme", "quickstart"])
def test_the_examples_have_no_finding(name: str) -> None:
    loaded = load(EXAMPLES / name / "topology.yaml")
    assert loaded.findings == ()
    assert loaded.valid.metadata.name == name
