"""The table of a benchmark run says what was measured: medians, ratios, what missed its target, what was not run."""

from __future__ import annotations

import pytest

from bench.lines import LINES, Figures, table
from bench.load import _read
from bench.peers import D3, OURS


def figures_of(line: str, ours: list[float], theirs: list[float]) -> Figures:
    figures = Figures()
    for peer, values in ((OURS, ours), (D3, theirs)):
        for value in values:
            figures.record(line, peer, value)
    return figures


def row_of(figures: Figures, line: str) -> str:
    return table(figures, [LINES[line]]).splitlines()[1]


def test_a_ratio_is_of_medians() -> None:
    figures = figures_of("manifest GET x16", [1000, 7000, 6000], [900, 1000, 1100])
    assert figures.ratio("manifest GET x16") == 6.0
    assert "missed" not in row_of(figures, "manifest GET x16")


@pytest.mark.parametrize(
    ("line", "ours", "theirs", "missed"),
    [
        ("manifest GET x16", 5900, 1000, True),
        ("manifest GET x64, p99", 2.5, 10, False),
        ("manifest GET x64, p99", 2.6, 10, True),
        ("memory at rest", 46, 200, True),
        ("memory at rest", 45, 1, False),
    ],
)
def test_a_row_says_when_its_target_is_missed(line: str, ours: float, theirs: float, missed: bool) -> None:
    assert ("missed" in row_of(figures_of(line, [ours], [theirs]), line)) is missed


def test_what_was_not_measured_is_said() -> None:
    assert row_of(Figures(), "manifest GET x1").endswith("not measured")


def test_a_line_that_the_table_does_not_have_is_no_figure() -> None:
    with pytest.raises(KeyError):
        Figures().record("manifest GET x17", OURS, 1.0)


def test_what_wrk_says_is_read_in_one_unit() -> None:
    rate = _read("  Latency Distribution\n     99%  850.00us\nRequests/sec:  12345.60\n")
    assert (rate.rps, rate.p99) == (12345.6, 0.85)


def test_the_quick_run_has_lines_of_each_kind() -> None:
    quick = [line.name for line in LINES.values() if line.quick]
    assert len(quick) >= 8
    assert not [name for name in quick if LINES[name].absolute]
