"""The target table of the design, line by line, and the table that a run prints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.peers import D2, D3, OURS

POSTGRESQL, TLS = "towpath, PostgreSQL", "TLS"


@dataclass(frozen=True)
class Line:
    """``target``: a ratio to distribution 3 (``absolute``: a figure of ours alone). ``less``: less is better."""

    name: str
    unit: str
    target: float
    less: bool = False
    absolute: bool = False
    quick: bool = False

    def reached(self, value: float) -> bool:
        return value <= self.target if self.less else value >= self.target


LINES: dict[str, Line] = {
    line.name: line
    for line in (
        Line("manifest GET x1", "rps", 2, quick=True),
        Line("manifest GET x16", "rps", 6, quick=True),
        Line("manifest GET x64", "rps", 6, quick=True),
        Line("manifest GET x64, p99", "ms", 0.25, less=True, quick=True),
        Line("manifest GET x1, PostgreSQL", "rps", 1),
        Line("manifest GET x16, PostgreSQL", "rps", 5),
        Line("manifest GET x64, PostgreSQL", "rps", 5),
        Line("manifest GET x64, p99, PostgreSQL", "ms", 0.25, less=True),
        Line("64 KB blob GET x16, PostgreSQL", "rps", 10),
        Line("64 KB blob GET x16", "rps", 10, quick=True),
        Line("manifest GET x1, 2 processes", "rps", 2),
        Line("manifest GET x16, 2 processes", "rps", 6),
        Line("manifest GET x64, 2 processes", "rps", 6),
        Line("manifest GET x64, p99, 2 processes", "ms", 0.25, less=True),
        Line("64 KB blob GET x16, 2 processes", "rps", 10),
        Line("manifest GET x16 during two uploads, 2 processes", "rps", 6),
        Line("two uploads during manifest GET x16, 2 processes", "MiB/s", 1.5),
        Line("large blob GET x1", "MiB/s", 1.4, quick=True),
        Line("large blob GET x4", "MiB/s", 1.3, quick=True),
        Line("large blob GET x32", "MiB/s", 1.5),
        Line("large blob GET x4, CPU", "ms/GiB", 0.5, less=True),
        Line("upload with length", "MiB/s", 1.8, quick=True),
        Line("upload chunked", "MiB/s", 1.3, quick=True),
        Line("small images pushed x1", "a second", 1),
        Line("small images pushed x8", "a second", 1),
        Line("small images pushed x16", "a second", 1),
        Line("manifest GET x16 during two uploads", "rps", 6, quick=True),
        Line("two uploads during manifest GET x16", "MiB/s", 1.5, quick=True),
        Line("skopeo push, 20 layers", "s", 0.8, less=True),
        Line("skopeo pull, 20 layers", "s", 1.05, less=True),
        Line("TLS manifest GET x64", "rps", 4),
        Line("TLS large blob GET x1", "MiB/s", 1.05),
        Line("TLS large blob GET x4", "MiB/s", 1.0),
        Line("TLS upload with length", "MiB/s", 1.2),
        Line("memory at rest", "MiB", 45, less=True, absolute=True),
        Line("peak memory, 32 large pulls", "MiB", 60, less=True, absolute=True),
        Line("peak memory, upload of 1 GiB", "MiB", 50, less=True, absolute=True),
        Line("start to first answer", "s", 0.3, less=True, absolute=True),
        Line("start with 1,000,000 tags", "s", 1.0, less=True, absolute=True),
        Line("page of 10,000 tags", "ms", 5, less=True, absolute=True),
        Line("first page of 1,000,000 tags, to an empty node's page", "x", 1.5, less=True, absolute=True),
        Line("manifest GET x16 among 1,000,000 tags, to an empty node's", "x", 0.9, absolute=True),
        Line("scan for what nobody needs, 1,000,000 links", "s", 0.5, less=True, absolute=True),
        Line("mirror: warm manifest GET x16", "rps", 4),
        Line("mirror: warm manifest GET x64", "rps", 4),
        Line("mirror: warm 64 KB blob GET x16", "rps", 1.3),
        Line("mirror: warm large blob GET x1", "MiB/s", 1.3),
        Line("mirror: warm large blob GET x4", "MiB/s", 1.3),
        Line("mirror: cold pull, 10 layers, loopback", "s", 1.0, less=True),
        Line("mirror: cold pull, 10 layers, 1 Gbit/s", "s", 1.0, less=True),
        Line("mirror: warm pull, 10 layers", "s", 1.0, less=True),
        Line("mirror: cold pull to the direct one, 1 Gbit/s", "x", 1.1, less=True, absolute=True),
        Line("mirror: cold pull to the direct one, loopback", "x", 1.1, less=True, absolute=True),
        Line("mirror: upstream GETs of an object, 100 cold joiners", "most", 1, less=True, absolute=True),
        Line("mirror: wrong bodies served, 1,000 faulty answers", "", 0, less=True, absolute=True),
        Line("virtual: manifest GET x16, time to the member's", "x", 1.3, less=True, absolute=True),
        Line("virtual: 64 KB blob GET x16, time to the member's", "x", 1.05, less=True, absolute=True),
    )
}


@dataclass
class Figures:
    """What was measured: by line and peer, a value of each round."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def record(self, line: str, peer: str, value: float) -> None:
        if line not in LINES:
            raise KeyError(f"{line!r} is no line of the table")
        self.values.setdefault(line, {}).setdefault(peer, []).append(value)

    def of(self, peer: str) -> Callable[[str, float], None]:
        return lambda line, value: self.record(line, peer, value)

    def median(self, line: str, peer: str) -> float | None:
        found = self.values.get(line, {}).get(peer)
        return statistics.median(found) if found else None

    def ratio(self, line: str, peer: str = D3) -> float | None:
        """Ours to theirs; of an absolute line our own figure."""
        ours = self.median(line, OURS)
        if LINES[line].absolute or ours is None:
            return ours
        theirs = self.median(line, peer)
        return ours / theirs if theirs else None


def table(figures: Figures, lines: Sequence[Line]) -> str:
    """A row for each line, also for those that were not measured."""
    width = max(len(f"{each.name}, {each.unit}") for each in lines)
    rows = [f"{'median':{width}} {'towpath':>9} {'d3.1.2':>9} {'d2.8.2':>9} {'to d3':>7} {'to d2':>7} {'target':>8}"]
    for line in lines:
        cells = [_number(figures.median(line.name, peer)) for peer in (OURS, D3, D2)]
        ratios = ["" if line.absolute else _number(figures.ratio(line.name, peer), "x") for peer in (D3, D2)]
        sign = "<=" if line.less else ">="
        goal = f"{sign} {line.target:g}{'' if line.absolute else 'x'}"
        value = figures.ratio(line.name)
        mark = "not measured" if value is None else "" if line.reached(value) else "missed"
        rows.append(
            f"{f'{line.name}, {line.unit}':{width}} {cells[0]:>9} {cells[1]:>9} {cells[2]:>9} "
            f"{ratios[0]:>7} {ratios[1]:>7} {goal:>8} {mark}".rstrip()
        )
    return "\n".join(rows)


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}") + unit
