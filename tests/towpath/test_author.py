"""lint, schema, graph and explain at the command line: data on stdout, talk on stderr, the exit status."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from towpath.exits import Exit
from towpath.main import run

TOP = Path(__file__).resolve().parents[2]
QUICKSTART = str(TOP / "examples" / "quickstart" / "topology.yaml")
BAD = str(TOP / "tests" / "topology" / "bad" / "all-at-once.yaml")
WARNED = str(TOP / "tests" / "topology" / "bad" / "S2.yaml")
Capture = pytest.CaptureFixture[str]


def test_lint_of_a_sound_topology_says_ok(capsys: Capture) -> None:
    assert run(["lint", QUICKSTART]) == Exit.DONE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("topology.yaml: ok\n")


def test_lint_prints_every_finding_and_fails(capsys: Capture) -> None:
    assert run(["lint", "-f", BAD]) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out.count("= ") >= 8
    assert "8 errors" in captured.err


def test_lint_for_programs(capsys: Capture) -> None:
    assert run(["lint", BAD, "-o", "json"]) == Exit.USAGE
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["code"] for record in records][:2] == ["S9", "T008"]
    assert captured.err == ""
    assert run(["lint", BAD, "--sarif", "-q"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().out)["version"] == "2.1.0"


def test_warnings_fail_only_when_asked(capsys: Capture) -> None:
    assert run(["lint", WARNED]) == Exit.DONE
    assert "2 warnings" in capsys.readouterr().err
    assert run(["lint", WARNED, "--strict"]) == Exit.USAGE


def test_lint_of_several_files(capsys: Capture) -> None:
    assert run(["lint", QUICKSTART, WARNED, "no-such-file.yaml"]) == Exit.USAGE
    assert "error[T004]" in capsys.readouterr().out


def test_schema_is_json(capsys: Capture, tmp_path: Path) -> None:
    assert run(["schema"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["title"] == "Towpath topology"
    assert run(["schema", "--workspace", "-f", QUICKSTART]) == Exit.DONE
    assert "ci-pool" in capsys.readouterr().out
    assert run(["schema", "--workspace", "-f", str(tmp_path / "none.yaml")]) == Exit.USAGE


@pytest.mark.parametrize(("form", "begins"), [("text", "sandbox"), ("mermaid", "flowchart LR"), ("svg", "<svg")])
def test_graph_draws(form: str, begins: str, capsys: Capture) -> None:
    assert run(["graph", "--format", form, "-f", QUICKSTART]) == Exit.DONE
    drawn = capsys.readouterr().out
    assert drawn.startswith(begins)
    if form == "svg":
        ElementTree.fromstring(drawn)


def test_graph_of_what_cannot_be_read_says_why(capsys: Capture) -> None:
    assert run(["graph", "-f", BAD]) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error[T008]" in captured.err


def test_explain(capsys: Capture) -> None:
    assert run(["explain", "g5"]) == Exit.DONE
    assert capsys.readouterr().out.startswith("G5 (error): a way from dev to prod\n")
    assert run(["explain", "G2", "-o", "json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["severity"] == "not checked yet"
    assert run(["explain"]) == Exit.DONE
    assert "T010" in capsys.readouterr().out
    assert run(["explain", "T0100"]) == Exit.USAGE
    assert "did you mean `T010`" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["up"], ["status"], ["down"]])
def test_no_verb_runs_on_an_invalid_topology(verb: list[str], capsys: Capture, tmp_path: Path) -> None:
    assert run([*verb, "-f", BAD, "--state", str(tmp_path / "state")]) == Exit.USAGE
    said = capsys.readouterr().err
    assert all(f"[{code}]" in said for code in ("S9", "T008", "T010", "G11", "T006", "R7", "G1", "topology-invalid"))
    assert not (tmp_path / "state").exists()
    assert run([*verb, "-f", BAD, "-o", "json"]) == Exit.USAGE
    assert len(json.loads(capsys.readouterr().err)["error"]["findings"]) == 8
