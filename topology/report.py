"""Findings as text with a caret, as JSON records, and as SARIF 2.1.0 for code-scanning pages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from topology.explain import explained
from topology.findings import Finding

WIDTH = 120  # columns of source that are shown; longer lines are cut around the caret
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(findings: Iterable[Finding]) -> str:
    """A block for each finding, a blank line between."""
    return "\n\n".join(_block(finding) for finding in findings)


def _block(finding: Finding) -> str:
    lines = [f"{_plain(finding.place)}: {finding.severity}[{finding.code}]: {_plain(finding.message)}"]
    margin = " " * len(str(finding.line))
    if finding.source.strip():
        source, start, length = _window(_plain(finding.source), finding.column - 1 - finding.cut, finding.length)
        lines += [
            f"{margin} |",
            f"{finding.line} | {source}",
            f"{margin} | {' ' * start}{'^' * max(1, min(length, WIDTH - start))}",
        ]
    more = f"(towpath explain {finding.code})"
    lines.append(f"{margin} = help: {_plain(finding.help)}  {more}" if finding.help else f"{margin} = {more}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Nothing that moves a terminal's cursor; as many characters as before."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)


def _window(source: str, start: int, length: int) -> tuple[str, int, int]:
    if len(source) <= WIDTH:
        return source, start, length
    left = max(0, min(start - WIDTH // 3, len(source) - WIDTH))
    cut = source[left : left + WIDTH]
    if left > 0:
        cut = "…" + cut[1:]
    if left + WIDTH < len(source):
        cut = cut[:-1] + "…"
    return cut, start - left, length


def as_records(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """``{code, severity, file, line, column, length, message, help}`` each; lines and columns from 1."""
    return [
        {
            "code": each.code,
            "severity": str(each.severity),
            "file": each.file,
            "line": each.line,
            "column": each.column,
            "length": each.length,
            "message": each.message,
            "help": each.help,
        }
        for each in findings
    ]


def as_sarif(findings: Sequence[Finding], version: str) -> str:
    codes = sorted({finding.code for finding in findings})
    driver = {"name": "towpath", "version": version, "rules": [_sarif_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each) for each in findings],
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _sarif_rule(code: str) -> dict[str, Any]:
    about = explained(code)
    return {
        "id": code,
        "shortDescription": {"text": about.title},
        "fullDescription": {"text": about.text or about.title},
    }


def _result(finding: Finding) -> dict[str, Any]:
    region = {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endColumn": finding.column + finding.length,
    }
    place = {"artifactLocation": {"uri": finding.file.replace("\\", "/")}, "region": region}
    text = f"{finding.message}. {finding.help}".rstrip(". ") + "."
    return {
        "ruleId": finding.code,
        "level": str(finding.severity),
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
