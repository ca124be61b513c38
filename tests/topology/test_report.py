"""Findings as records and SARIF; and what every code means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from topology.explain import UnknownCode, as_text, every, explained
from topology.findings import suggest
from topology.load import load
from topology.report import as_records, as_sarif

ALL = Path(__file__).parent / "bad" / "all-at-once.yaml"


def test_records_hold_all_that_the_text_says() -> None:
    records = as_records(load(ALL).findings)
    assert [record["code"] for record in records] == ["S9", "T008", "T010", "G11", "T006", "R7", "T006", "G1"]
    lines = ALL.read_text().splitlines()
    for record in records[1:]:
        shown = lines[record["line"] - 1][record["column"] - 1 :][: record["length"]]
        assert shown == shown.strip() != ""
    json.dumps(records)


def test_sarif_names_every_rule_it_uses() -> None:
    sarif = json.loads(as_sarif(load(ALL).findings, "1.2.3"))
    (run,) = sarif["runs"]
    assert sarif["version"] == "2.1.0"
    assert run["tool"]["driver"]["version"] == "1.2.3"
    assert {result["ruleId"] for result in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    regions = [result["locations"][0]["physicalLocation"]["region"] for result in run["results"]]
    assert all(1 <= region["startColumn"] < region["endColumn"] for region in regions)


def test_every_code_is_explained() -> None:
    for code, about in every().items():
        assert about.title
        assert explained(code.lower()) == about
        assert len(about.text) > 30
    assert "not checked yet" in as_text(explained("G2"))
    assert as_text(explained("G5")).startswith("G5 (error): ")


def test_an_unknown_code_names_the_nearest() -> None:
    with pytest.raises(UnknownCode, match="did you mean `T010`"):
        explained("T0100")


def test_suggestions() -> None:
    assert suggest("ci-snapshot", ["ci-snapshots", "prod"]) == "did you mean `ci-snapshots`?"
    assert suggest("production", ["dev", "prod"]) == "did you mean `prod`?"
    assert suggest("x", ["b", "a"]) == "known: a, b"
    assert suggest("x", [], "gate") == "no gate is declared"
    assert suggest("x", map(str, range(20))).endswith("(20 in all)")
