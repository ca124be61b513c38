"""Regular expressions of settings and topologies, matched in bounded time: a name is never worth a second of CPU (ReDoS).

Python's ``re`` goes back and tries again, which takes exponential time for expressions like ``(a+)+``. Here all
ways through a text are followed at once, as the set of places where they stand. What cannot be matched that way
(references, looking around) is refused when the settings are read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Without names in typeshed; ``sre_parse``, their old place, warns when it is imported.
_parser: Any = importlib.import_module("re._parser")
_op: Any = importlib.import_module("re._constants")

Places = frozenset[int]
Step = Callable[[str, Places], Places]  # from these places of the text to those behind what matched
_MAX_LENGTH = 1000  # characters of an expression
_MAX_REPEAT = 255  # the longest name
_MAX_NESTING = 4  # of repeats: each level may cost the length of the text once more
_CATEGORIES = {
    _op.CATEGORY_DIGIT: re.compile(r"\d"),
    _op.CATEGORY_NOT_DIGIT: re.compile(r"\D"),
    _op.CATEGORY_WORD: re.compile(r"\w"),
    _op.CATEGORY_NOT_WORD: re.compile(r"\W"),
    _op.CATEGORY_SPACE: re.compile(r"\s"),
    _op.CATEGORY_NOT_SPACE: re.compile(r"\S"),
}

_UNTAKEN = {
    "ASSERT": "looking ahead or behind",
    "ASSERT_NOT": "looking ahead or behind",
    "GROUPREF": "a reference to a group",
    "AT": "an anchor inside",
}


@dataclass(frozen=True, slots=True)
class Expression:
    """Reads as ``re`` reads it; ``fullmatch`` says whether it is the whole of a text."""

    pattern: str
    _step: Step

    @classmethod
    def compile(cls, pattern: str) -> Expression:
        """Raises ValueError for what is no expression, or one that is not matched here."""
        if len(pattern) > _MAX_LENGTH:
            raise ValueError(f"it has more than {_MAX_LENGTH} characters")
        try:
            parsed = _parser.parse(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from None
        if parsed.state.flags & ~re.UNICODE:
            raise ValueError("flags are not taken")
        return cls(pattern, _sequence(parsed, 0))

    def fullmatch(self, text: str) -> bool:
        return len(text) in self._step(text, frozenset((0,)))


def _sequence(parsed: Any, nesting: int) -> Step:
    steps = [_node(op, value, nesting) for op, value in parsed]

    def follow(text: str, places: Places) -> Places:
        for step in steps:
            places = step(text, places)
        return places

    return follow


def _node(op: Any, value: Any, nesting: int) -> Step:
    if op in (_op.MAX_REPEAT, _op.MIN_REPEAT):
        return _repeat(value[0], value[1], value[2], nesting + 1)
    if op is _op.SUBPATTERN and not value[1] and not value[2]:
        return _sequence(value[3], nesting)
    if op is _op.BRANCH:
        return _either([_sequence(each, nesting) for each in value[1]])
    if op is _op.AT:
        return _anchor(value)
    return _character(_accepts(op, value))


def _repeat(least: int, most: Any, body: Any, nesting: int) -> Step:
    if nesting > _MAX_NESTING:
        raise ValueError(f"repeats are nested more than {_MAX_NESTING} deep")
    if least > _MAX_REPEAT:
        raise ValueError(f"it repeats something more than {_MAX_REPEAT} times, and no name is that long")
    step = _sequence(body, nesting)
    rest = None if most is _op.MAXREPEAT else most - least

    def follow(text: str, places: Places) -> Places:
        for _ in range(least):
            places = step(text, places)
        found, rounds = places, 0
        while places and (rest is None or rounds < rest):
            places = step(text, places) - found  # a place that was reached before leads nowhere new
            found, rounds = found | places, rounds + 1
        return found

    return follow


def _either(ways: Sequence[Step]) -> Step:
    return lambda text, places: frozenset().union(*(way(text, places) for way in ways))


def _anchor(kind: Any) -> Step:
    if kind in (_op.AT_BEGINNING, _op.AT_BEGINNING_STRING):
        return lambda text, places: places & {0}
    if kind in (_op.AT_END, _op.AT_END_STRING):
        return lambda text, places: places & {len(text)}
    raise ValueError(r"word boundaries (\b, \B) are not taken")


def _character(accepts: Callable[[str], bool]) -> Step:
    return lambda text, places: frozenset(at + 1 for at in places if at < len(text) and accepts(text[at]))


def _accepts(op: Any, value: Any) -> Callable[[str], bool]:
    if op is _op.LITERAL:
        return lambda character: ord(character) == value
    if op is _op.NOT_LITERAL:
        return lambda character: ord(character) != value
    if op is _op.ANY:
        return lambda character: character != "\n"
    if op is _op.RANGE:
        return lambda character: value[0] <= ord(character) <= value[1]
    if op is _op.CATEGORY:
        return lambda character: _CATEGORIES[value].match(character) is not None
    if op is _op.IN:
        wanted = value[0][0] is not _op.NEGATE
        parts = [_accepts(*each) for each in value if each[0] is not _op.NEGATE]
        return lambda character: any(part(character) for part in parts) is wanted
    what = _UNTAKEN.get(str(op), str(op).lower().replace("_", " "))
    raise ValueError(f"{what} is not taken: use characters, classes, groups and repeats")
