"""How far a host's clock is off, from what it said between our question and its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.planning import saved_plan
from sites.planning.clocks import Skew, clock_warnings, wrong_clock
from sites.planning.host_plan import HostPlan
from tests.sites import deployed

ASKED = 1_000_000.0


@pytest.mark.parametrize(
    ("time", "took", "refused", "warned"),
    [
        (0.0, 0.2, "", ""),
        (4.0, 0.2, "", ""),
        (12.0, 0.0, "", "12 s ahead of"),
        (-12.0, 0.0, "", "12 s behind"),
        (31.0, 0.2, "31 s ahead of", "31 s ahead of"),
        (-90.0, 0.2, "90 s behind", "90 s behind"),
        (20.0, 40.0, "", ""),  # said in the middle of a slow answer: nothing is wrong
        (35.0, 40.0, "", ""),  # 15 s from the middle, and it may have been said at the end
        (100.0, 40.0, "80 s ahead of", "80 s ahead of"),
    ],
)
def test_a_clock_is_compared_with_the_middle_of_the_way(
    tmp_path: Path, time: float, took: float, refused: str, warned: str
) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    facts = deployed.facts(time=ASKED + time, asked=ASKED, answered=ASKED + took)
    error = wrong_clock("eu-1", facts)
    assert (error.code if error else "") == ("host-unfit" if refused else "")
    assert error is None or refused in error.why
    warnings = list(clock_warnings({"eu-1": HostPlan(host, facts)}))
    assert len(warnings) == bool(warned)
    assert all(f"host eu-1 is {warned}" in each for each in warnings)


def test_a_plan_does_not_move_with_the_clock() -> None:
    one = deployed.facts(time=ASKED, asked=ASKED, answered=ASKED + 1)
    other = deployed.facts(time=ASKED + 9, asked=ASKED + 8, answered=ASKED + 10)
    assert dict(saved_plan._there(one)) == dict(saved_plan._there(other))
    assert Skew.of(one) != Skew.of(other)
