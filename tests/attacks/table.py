"""The attack table (table.md), read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attack:
    """``when``: "now", or "later: " and what it waits for."""

    id: str
    what: str
    elsewhere: str
    defence: str
    when: str

    @property
    def now(self) -> bool:
        return self.when == "now"


def _read(row: str) -> Attack:
    return Attack(*(part.strip() for part in row.strip().strip("|").split("|")))


_ROWS = Path(__file__).with_suffix(".md").read_text().splitlines()
ATTACKS = tuple(_read(row) for row in _ROWS if row.startswith("| A-"))
