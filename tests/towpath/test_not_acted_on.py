"""What is declared and not acted on is said; the quickstart declares nothing of the kind."""

from pathlib import Path

import pytest

from topology.load import load
from towpath.main import run
from towpath.not_acted_on import not_acted_on

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def test_the_quickstart_uses_what_is_built() -> None:
    topology = load(EXAMPLES / "quickstart" / "topology.yaml").topology
    assert topology is not None and not_acted_on(topology) == ()


def test_the_reference_names_every_row() -> None:
    topology = load(EXAMPLES / "acme" / "topology.yaml").topology
    assert topology is not None
    said = not_acted_on(topology)
    assert "quota.warnAt (prod)" in said and "cleanup.untaggedAfter (sandbox)" in said
    status = (EXAMPLES.parent / "docs" / "reference-status.md").read_text()
    missing = [each for each in said if f"`{each.rpartition(' (')[0]}`" not in status]
    assert missing == []


def test_lint_says_it_without_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", str(EXAMPLES / "acme" / "topology.yaml"), "--strict"]) == 0
    assert "declared, not acted on yet: sla (" in capsys.readouterr().err
