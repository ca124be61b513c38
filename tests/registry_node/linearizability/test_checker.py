"""The checker itself: histories known good and bad, and against all orders tried one by one."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry_node.linearizability.checker import Kind, Operation, linearizable, stuck

READ, SET, DELETE = Kind.READ, Kind.SET, Kind.DELETE


def ops(*given: tuple[Kind, str | bool | None, float, float]) -> list[Operation]:
    return [Operation(*each) for each in given]


GOOD = {
    "nothing": ops(),
    "one after the other": ops((SET, "a", 0, 1), (READ, "a", 2, 3), (DELETE, True, 4, 5), (READ, None, 6, 7)),
    "a read beside a write sees the old": ops((SET, "a", 0, 1), (SET, "b", 2, 9), (READ, "a", 3, 4)),
    "or the new": ops((SET, "a", 0, 1), (SET, "b", 2, 9), (READ, "b", 3, 4), (READ, "b", 5, 6)),
    "two writes at once, in either order": ops((SET, "a", 0, 9), (SET, "b", 0, 9), (READ, "a", 10, 11)),
    "a write without an answer happened": ops((SET, "a", 0, math.inf), (READ, "a", 5, 6)),
    "late": ops((SET, "a", 0, math.inf), (READ, None, 5, 6), (READ, "a", 7, 8)),
    "or never": ops((SET, "a", 0, math.inf), (READ, None, 5, 6), (READ, None, 7, 8)),
    "a deletion without an answer": ops((SET, "a", 0, 1), (DELETE, None, 2, math.inf), (READ, None, 3, 4)),
    "nothing there to delete": ops((DELETE, False, 0, 1), (SET, "a", 2, 3), (DELETE, True, 4, 5)),
    "a read without an answer says nothing": ops((SET, "a", 0, 1), (READ, "z", 2, math.inf), (READ, "a", 3, 4)),
}
BAD = {
    "a stale read": ops((SET, "a", 0, 1), (SET, "b", 2, 3), (READ, "a", 4, 5)),
    "a read of what was deleted": ops((SET, "a", 0, 1), (DELETE, True, 2, 3), (READ, "a", 4, 5)),
    "a lost write": ops((SET, "a", 0, 1), (READ, None, 2, 3)),
    "new, then old again": ops((SET, "a", 0, 1), (SET, "b", 2, 9), (READ, "b", 3, 4), (READ, "a", 5, 6)),
    "two readers disagree about the order": ops(
        (SET, "a", 0, 9), (SET, "b", 0, 9), (READ, "a", 1, 2), (READ, "b", 3, 4), (READ, "a", 5, 6)
    ),
    "read before it was written": ops((READ, "a", 0, 1), (SET, "a", 2, 3)),
    "without an answer, gone again": ops((SET, "a", 0, math.inf), (READ, "a", 1, 2), (READ, None, 3, 4)),
    "deleted twice": ops((SET, "a", 0, 1), (DELETE, True, 2, 3), (DELETE, True, 4, 5)),
    "from nowhere": ops((READ, "x", 0, 1)),
}


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str) -> None:
    assert not linearizable(BAD[name])


def test_a_server_that_was_away_leaves_much_unanswered() -> None:
    """As many sets as atoms in a cup: only those that differ in what was read are looked at."""
    unanswered = [Operation(SET, f"lost {at}", at / 100) for at in range(80)]
    unanswered += [Operation(DELETE, None, at / 100) for at in range(40)]
    rest = [(SET, "a", 1, 2), (READ, None, 3, 4), (SET, "b", 5, 6), (DELETE, True, 7, 8), (READ, "b", 9, 10)]
    assert linearizable([*unanswered, *ops(*rest[:4])])
    assert not linearizable([*unanswered, *ops(*rest)])


def test_the_place_of_the_trouble_is_named() -> None:
    history = BAD["a stale read"]
    assert stuck(history) == history[2]


times = st.integers(0, 12)
values = st.sampled_from(["a", "b"])


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Anything, good or bad, of up to six operations."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(Kind))
        value = draw({READ: values | st.none(), SET: values, DELETE: st.booleans()}[kind])
        began = draw(times)
        ended = draw(st.integers(began, 13) | st.just(math.inf))
        if ended == math.inf and kind is DELETE:
            value = None
        found.append(Operation(kind, value, began, ended))
    return found


def by_trying_all_orders(history: list[Operation]) -> bool:
    history = [each for each in history if each.answered or each.kind is not READ]
    maybe = [each for each in history if not each.answered]
    for chosen in range(1 << len(maybe)):
        happened = [each for each in history if each.answered]
        happened += [each for at, each in enumerate(maybe) if chosen >> at & 1]
        if any(_possible(order) for order in permutations(happened)):
            return True
    return False


def _possible(order: tuple[Operation, ...]) -> bool:
    held: str | None = None
    for at, operation in enumerate(order):
        if any(later.ended < operation.began for later in order[at + 1 :]):
            return False
        possible, held = operation.after(held)
        if not possible:
            return False
    return True


@given(histories())
def test_it_agrees_with_trying_all_orders(history: list[Operation]) -> None:
    assert linearizable(history) == by_trying_all_orders(history)


@given(st.data())
def test_whatever_a_register_did_is_accepted(data: st.DataObject) -> None:
    """Operations happen at their points; what a client sees of each is a longer span around its point."""
    held: str | None = None
    history = []
    for point in range(data.draw(st.integers(1, 60))):
        kind = data.draw(st.sampled_from(Kind))
        value: str | bool | None = {READ: held, SET: f"v{point}", DELETE: held is not None}[kind]
        held = {READ: held, SET: f"v{point}", DELETE: None}[kind]
        began = point - data.draw(st.floats(0, 5))
        lost = kind is not READ and data.draw(st.integers(0, 9)) == 0
        ended = math.inf if lost else point + data.draw(st.floats(0, 5))
        history.append(Operation(kind, None if lost and kind is DELETE else value, began, ended))
    assert linearizable(history)
