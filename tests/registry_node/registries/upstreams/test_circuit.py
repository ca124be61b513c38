"""The circuit as a value: whatever happens to it, it opens after failures, tries once, and closes after an answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_node.registries.upstreams.circuit import (
    CLOSED,
    FAILURES,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_TOLD,
    TRIAL_SECONDS,
)

steps = st.lists(st.tuples(st.sampled_from(["ask", "fail", "answer", "leave"]), st.floats(0, 200)), max_size=40)


@given(steps)
def test_it_never_stays_shut(taken: list[tuple[str, float]]) -> None:
    now, circuit, failures = 0.0, CLOSED, 0
    for what, later in taken:
        now += later
        if what == "answer":
            circuit, failures = circuit.succeeded(), 0
            assert circuit.state(now) == "closed"
        elif what == "fail":
            circuit, failures = circuit.failed(now), failures + 1
            assert (circuit.state(now) == "closed") == (failures < FAILURES)
        elif what == "leave":
            circuit = circuit.left()
        elif circuit.wait(now) == 0:
            circuit = circuit.asked(now)
        assert circuit.wait(now) <= LONGEST_PAUSE
    assert circuit.wait(now + LONGEST_PAUSE + TRIAL_SECONDS) == 0


def test_half_open_lets_one_try() -> None:
    circuit = CLOSED
    for _ in range(FAILURES):
        circuit = circuit.failed(0.0)
    assert (circuit.state(0.0), circuit.wait(0.0)) == ("open", FIRST_PAUSE)
    assert (circuit.state(FIRST_PAUSE), circuit.wait(FIRST_PAUSE)) == ("half-open", 0)
    trial = circuit.asked(FIRST_PAUSE)
    assert trial.wait(FIRST_PAUSE) > 0
    assert trial.left().wait(FIRST_PAUSE) == 0
    assert trial.failed(FIRST_PAUSE).wait(FIRST_PAUSE) == 2 * FIRST_PAUSE
    assert trial.succeeded() == CLOSED


def test_what_it_says_of_coming_back_holds_within_reason() -> None:
    assert CLOSED.failed(0.0, 300.0).wait(0.0) == 300
    assert CLOSED.failed(0.0, 1e9).wait(0.0) == LONGEST_TOLD
