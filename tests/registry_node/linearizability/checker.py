"""Whether a recorded history of one tag could have come from one register that does one thing at a time.

Wing & Gong (1993) with Lowe's memoisation (2017): take, one after the other, operations that nothing unfinished
comes before; go back where that leads nowhere; never look twice at the same set of operations done with the same
value. Each tag is checked by itself: linearizability is local (Herlihy & Wing 1990).

An operation that got no answer may have happened at any time after its beginning, or never. Of those that do the same
(a deletion; a value that nobody read) the one that began first goes first: where a later one fits, it fits too. Without
that, a server that is away for a second leaves more sets of them than can be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum


class Kind(Enum):
    READ = "read"  # ``value``: what was there, None for nothing
    SET = "set"  # ``value``: what it was set to
    DELETE = "delete"  # ``value``: whether something was there (True) or nothing (False); None: no answer


@dataclass(frozen=True, slots=True)
class Operation:
    """``began`` and ``ended`` in seconds of one clock; ``ended`` is infinite for what got no answer."""

    kind: Kind
    value: str | bool | None
    began: float
    ended: float = math.inf
    client: int = 0

    @property
    def answered(self) -> bool:
        return self.ended != math.inf

    def after(self, held: str | None) -> tuple[bool, str | None]:
        """Whether it can happen to a register that holds this, and what it holds then."""
        if self.kind is Kind.READ:
            return self.value == held, held
        if self.kind is Kind.SET:
            assert isinstance(self.value, str)
            return True, self.value
        return self.value is None or self.value == (held is not None), None


def linearizable(history: Iterable[Operation], initial: str | None = None) -> bool:
    """A read without an answer says nothing and is left out."""
    return stuck(history, initial) is None


def stuck(history: Iterable[Operation], initial: str | None = None) -> Operation | None:
    """None for a linearizable history, else the operation beyond which no order goes."""
    operations = sorted(
        (each for each in history if each.answered or each.kind is not Kind.READ), key=lambda each: each.began
    )
    search = _Search(_without_unread_values(operations))
    return None if search.run(initial) else operations[search.furthest]


_UNREAD = ""


def _without_unread_values(operations: Sequence[Operation]) -> list[Operation]:
    """Values that no read saw are alike."""
    read = {each.value for each in operations if each.kind is Kind.READ}
    return [
        replace(each, value=_UNREAD) if each.kind is Kind.SET and each.value not in read else each
        for each in operations
    ]


class _Search:
    """``operations`` by their beginning; a set of them is an integer with their bits."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._must = sum(1 << at for at, each in enumerate(operations) if each.answered)
        self.furthest = 0

    def run(self, initial: str | None) -> bool:
        seen: set[tuple[int, str | None]] = set()
        # what is done, the register, the first operation that is not done
        left: list[tuple[int, str | None, int]] = [(0, initial, 0)]
        while left:
            done, held, first = left.pop()
            if done & self._must == self._must:
                return True
            if (done, held) in seen:
                continue
            seen.add((done, held))
            left.extend(self._next(done, held, first))
        return False

    def _next(self, done: int, held: str | None, first: int) -> list[tuple[int, str | None, int]]:
        """All that may happen next: what began before any operation that is left has ended."""
        found = []
        end, waiting = math.inf, set[tuple[Kind, str | bool | None]]()
        while first < len(self._operations) and done >> first & 1:
            first += 1
        self.furthest = max(self.furthest, min(first, len(self._operations) - 1))
        for at in range(first, len(self._operations)):
            operation = self._operations[at]
            if done >> at & 1:
                continue
            if operation.began > end:
                break
            if not operation.answered:
                if (operation.kind, operation.value) in waiting:
                    continue
                waiting.add((operation.kind, operation.value))
            end = min(end, operation.ended)
            possible, then = operation.after(held)
            if possible:
                found.append((done | 1 << at, then, first))
        return found[::-1]  # in the order of their beginning: most often the right one
