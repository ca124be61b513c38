"""The table of states: every way ends, and what has been committed is never given up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotions.states import ENDS, PATH, TRANSITIONS, UNCOMMITTED, ImpossibleTransition, State, check


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", sorted(ENDS))
def test_an_end_is_an_end(state: State) -> None:
    assert TRANSITIONS[state] == frozenset()


def test_the_way_goes_forward_one_step_at_a_time() -> None:
    for before, after in pairwise(PATH):
        assert after in TRANSITIONS[before]
        later = set(PATH[PATH.index(after) + 1 :])
        assert not later & TRANSITIONS[before], before


def test_committed_only_settles_or_is_tried_again() -> None:
    assert TRANSITIONS[State.COMMITTED] == {State.SETTLED, State.ERRORED}
    assert State.COMMITTED not in UNCOMMITTED


def test_only_gating_rejects() -> None:
    assert [each for each in State if State.REJECTED in TRANSITIONS[each]] == [State.GATING]


@given(st.lists(st.sampled_from(list(State)), max_size=30))
def test_any_walk_that_commits_was_checked_and_gated(wishes: list[State]) -> None:
    state, walked = State.REQUESTED, [State.REQUESTED]
    for wish in wishes:
        try:
            state = check(state, wish)
        except ImpossibleTransition:
            continue
        walked.append(state)
    if State.COMMITTED in walked and State.ERRORED not in walked:
        assert {State.PINNED, State.GATING, State.COPYING, State.CHECKED} <= set(
            walked[: walked.index(State.COMMITTED)]
        )


@pytest.mark.parametrize("state", [each for each in State if each not in ENDS])
def test_every_living_state_can_reach_the_end(state: State) -> None:
    seen, todo = {state}, [state]
    while todo:
        todo += [each for each in TRANSITIONS[todo.pop()] if each not in seen and not seen.add(each)]  # type: ignore[func-returns-value]
    assert State.SETTLED in seen
