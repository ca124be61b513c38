"""The protocol, line by line: what a registry has to do, where that is written, and how strongly.

The lines are in checklist.md. Every one has one test (``@pytest.mark.protocol("id")``), black box over HTTP;
``test_checklist.py`` holds the two together. docs/protocol.md shows what this node and two other registries do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Level(StrEnum):
    """How strongly the source says it. OURS: stricter than any source, and what we hold ourselves to."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Line:
    """``id`` begins with its section; ``source`` is the document and the place in it."""

    id: str
    level: Level
    text: str
    source: str

    @property
    def section(self) -> str:
        return self.id.partition(".")[0]


def _read(row: str) -> Line:
    identifier, level, text, source = (part.strip() for part in row.strip("| \n").split(" | "))
    return Line(identifier, Level(level), text, source)


_ROWS = (Path(__file__).with_suffix(".md")).read_text().splitlines()
LINES = tuple(_read(row) for row in _ROWS if row.startswith("| ") and "." in row.partition(" | ")[0])
SECTIONS = tuple(dict.fromkeys(line.section for line in LINES))
