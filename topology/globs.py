"""Whether two patterns can match the same name, and whether one matches whatever the other does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from identity.grants import matches

_PIECES = re.compile(r"(?P<deep>(?:(?<=/)|^)\*\*(?:/|$))|(?P<star>\*+)|(?P<one>\?|\[[^]]*\])|(?P<letter>.)", re.DOTALL)
_WILD = re.compile(r"[*?\[\]{}!|()]")
_DEEP, _STAR, _ONE = "**", "*", "?"


def any_overlap(left: Iterable[str], right: Iterable[str]) -> bool:
    patterns = tuple(right)
    return any(overlap(one, other) for one in left for other in patterns)


@lru_cache(maxsize=65536)
def overlap(left: str, right: str) -> bool:
    """Whether some name matches both globs. May say yes where only a set like ``[a-c]`` or ``x/**/y`` tells them apart;
    never says no when a common name exists."""
    if left == right:
        return True
    one, other = _pieces(left), _pieces(right)
    reached, waiting = {(0, 0)}, [(0, 0)]
    while waiting:
        i, j = waiting.pop()
        if i == len(one) and j == len(other):
            return True
        for step in _steps(one, other, i, j):
            if step not in reached:
                reached.add(step)
                waiting.append(step)
    return False


def covers(wide: str, narrow: str) -> bool:
    """Whether every name that fits ``narrow`` fits ``wide``. May say no where a set or a star inside would do; never says
    yes wrongly."""
    if wide in (narrow, "**"):
        return True
    if not _WILD.search(narrow):
        return matches(narrow, (wide,))
    return wide.endswith("/**") and not _WILD.search(wide[:-3]) and narrow.startswith(wide[:-2])


def any_covers(wide: Iterable[str], narrow: str) -> bool:
    return any(covers(each, narrow) for each in wide)


def _pieces(glob: str) -> list[str]:
    kinds = {"deep": _DEEP, "star": _STAR, "one": _ONE}
    return [kinds.get(found.lastgroup or "", found[0]) for found in _PIECES.finditer(glob)]


def _steps(one: list[str], other: list[str], i: int, j: int) -> list[tuple[int, int]]:
    left = one[i] if i < len(one) else None
    right = other[j] if j < len(other) else None
    steps = []
    if left in (_DEEP, _STAR):
        steps.append((i + 1, j))
        if right is not None and _takes(left, right):
            steps.append((i, j + 1))
    if right in (_DEEP, _STAR):
        steps.append((i, j + 1))
        if left is not None and _takes(right, left):
            steps.append((i + 1, j))
    if left is not None and right is not None and _share(left, right):
        steps.append((i + 1, j + 1))
    return steps


def _takes(star: str | None, piece: str) -> bool:
    return star == _DEEP or piece != "/"


def _share(left: str, right: str) -> bool:
    if left in (_DEEP, _STAR) or right in (_DEEP, _STAR):
        return False
    if _ONE in (left, right):
        return "/" not in (left, right)
    return left == right
