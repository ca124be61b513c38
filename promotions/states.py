"""The life of a promotion, as a pure table (promotions.md, "Life of a promotion").

REQUESTED -> PINNED -> GATING -> WAITING -> COPYING -> EVIDENCED -> CHECKED -> COMMITTED -> SETTLED

Each state names what is durably true when a row is in it; the step to the next state may run again.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    REQUESTED = "REQUESTED"  # asked for, by someone who may
    PINNED = "PINNED"  # the digest, the tags and what they show now are fixed
    GATING = "GATING"  # gates are being asked
    WAITING = "WAITING"  # no gate refused; holds and freezes are waited for here
    COPYING = "COPYING"  # the closure is on its way to the target
    EVIDENCED = "EVIDENCED"  # closure and our attestation are at the target
    CHECKED = "CHECKED"  # all of it was read back and matched
    COMMITTED = "COMMITTED"  # the tags have changed
    SETTLED = "SETTLED"  # and the ledger says so
    REJECTED = "REJECTED"  # a gate refused
    FAILED = "FAILED"  # an error that trying again cannot cure
    ABORTED = "ABORTED"  # someone stopped it
    SUPERSEDED = "SUPERSEDED"  # a later request took its tags
    EXPIRED = "EXPIRED"  # it waited too long
    ERRORED = "ERRORED"  # an error that trying again may cure

    @property
    def ended(self) -> bool:
        return self in ENDS

    @property
    def live(self) -> bool:
        return self not in ENDS


PATH = (
    State.REQUESTED,
    State.PINNED,
    State.GATING,
    State.WAITING,
    State.COPYING,
    State.EVIDENCED,
    State.CHECKED,
    State.COMMITTED,
    State.SETTLED,
)
ENDS = frozenset({State.SETTLED, State.REJECTED, State.FAILED, State.ABORTED, State.SUPERSEDED, State.EXPIRED})
# Before this the target's tags are untouched for sure, so that a row may still be given up.
UNCOMMITTED = frozenset(PATH[: PATH.index(State.CHECKED) + 1])

_GIVEN_UP = frozenset({State.FAILED, State.ABORTED, State.SUPERSEDED, State.EXPIRED, State.ERRORED})


def _next_of(state: State) -> frozenset[State]:
    after = frozenset({PATH[PATH.index(state) + 1]})
    if state is State.COMMITTED:  # the tags have changed: nothing is given up any more
        return after | {State.ERRORED}
    after |= _GIVEN_UP
    if state is State.GATING:
        after |= {State.REJECTED}
    if state in (State.WAITING, State.COPYING, State.EVIDENCED, State.CHECKED):
        after |= {State.GATING, State.WAITING}  # a verdict was voided; a freeze began
    return after - {state}


TRANSITIONS: dict[State, frozenset[State]] = {
    **{state: _next_of(state) for state in PATH[:-1]},
    **{state: frozenset() for state in ENDS},
    State.ERRORED: frozenset(PATH[:-1]) | {State.FAILED, State.ABORTED, State.SUPERSEDED, State.EXPIRED},
}


class ImpossibleTransition(Exception):
    """A bug, or two runners on one row: the table has no such step."""


def check(before: State, after: State) -> State:
    """``after``, when the table allows the step. Raises ImpossibleTransition."""
    if after not in TRANSITIONS[before]:
        raise ImpossibleTransition(f"a promotion cannot go from {before} to {after}")
    return after
