"""A repository name for the canary that a scope's naming rule lets through: ``apps/towpath-canary`` for ``apps/[a-z-]+``."""

from __future__ import annotations

import importlib
import re
from typing import Any

from identity.expressions import Expression

# As in identity/expressions.py: without names in typeshed.
_parser: Any = importlib.import_module("re._parser")
_op: Any = importlib.import_module("re._constants")

NAME = "towpath/canary"
_WORD = "towpath-canary"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_./"


def canary_name(rule: str | None) -> str | None:
    """None: no name was found that fits the rule and the protocol's grammar; then nothing can be pushed."""
    if rule is None or Expression.compile(rule).fullmatch(NAME):
        return NAME
    made = _sequence(_parser.parse(rule))
    fits = made is not None and re.fullmatch(r"[a-z0-9]+([._/-][a-z0-9]+)*", made) and len(made) <= 200
    return made if made is not None and fits and Expression.compile(rule).fullmatch(made) else None


def _sequence(parsed: Any) -> str | None:
    parts = [_node(op, value) for op, value in parsed]
    return None if None in parts else "".join(part or "" for part in parts)


def _node(op: Any, value: Any) -> str | None:
    if op in (_op.MAX_REPEAT, _op.MIN_REPEAT):
        return _repeat(*value)
    if op is _op.SUBPATTERN:
        return _sequence(value[3])
    if op is _op.BRANCH:
        return next((made for made in map(_sequence, value[1]) if made is not None), None)
    if op is _op.AT:
        return ""
    return next(iter(_accepted(op, value, _LETTERS)), None)


def _repeat(least: int, most: Any, body: Any) -> str | None:
    """Of one character, as much of our word as it takes; else the fewest."""
    op, value = body[0] if len(body) == 1 else (None, None)
    if op in (_op.IN, _op.ANY, _op.NOT_LITERAL):
        fits = _accepted(op, value, _WORD).strip("-")
        length = len(fits) if most is _op.MAXREPEAT else min(len(fits), most)
        if length >= max(least, 1):
            return fits[:length].rstrip("-")
    once = _sequence(body) if least else ""
    return None if once is None else once * least


def _accepted(op: Any, value: Any, letters: str) -> str:
    """Those of the letters that this one character of the rule takes."""
    if op is _op.LITERAL:
        return chr(value)
    return "".join(each for each in letters if _takes(op, value, each))


def _takes(op: Any, value: Any, letter: str) -> bool:
    if op is _op.IN:
        wanted = value[0][0] is not _op.NEGATE
        return any(_takes(kind, each, letter) for kind, each in value if kind is not _op.NEGATE) is wanted
    if op is _op.RANGE:
        return bool(value[0] <= ord(letter) <= value[1])
    if op is _op.CATEGORY:
        return letter.isdigit() if value is _op.CATEGORY_DIGIT else value is _op.CATEGORY_WORD and letter.isalnum()
    return bool(op is _op.ANY or (op is _op.LITERAL) == (ord(letter) == value))
