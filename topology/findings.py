"""Findings: what is wrong, where, and what to do. A stable code each; rendered as text, JSON or SARIF elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

_LISTED = 8


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` and ``column`` count from 1. ``source``: the line, secrets blanked, or of a long line the part from
    ``cut`` on; ``length`` characters of it are meant, from ``column - 1 - cut`` on."""

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    message: str
    help: str = ""
    source: str = ""
    length: int = 1
    cut: int = 0

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Breach:
    """A finding before it has its place in the file: ``path`` leads to a value (or, ``at_key``, to its key)."""

    path: tuple[str | int, ...]
    message: str
    help: str = ""
    at_key: bool = False
    code: str = ""


def errors(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.severity is Severity.ERROR)


def suggest(name: str, known: Iterable[str], noun: str = "") -> str:
    """``did you mean `x`?``, or what there is to choose from, or ""."""
    choices = sorted(set(known))
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    near = near or [each for each in choices if len(name) > 2 and (each.startswith(name) or name.startswith(each))]
    if near:
        return f"did you mean `{near[0]}`?"
    if not choices:
        return f"no {noun} is declared" if noun else ""
    more = f", … ({len(choices)} in all)" if len(choices) > _LISTED else ""
    return "known: " + ", ".join(choices[:_LISTED]) + more
