"""Answers of the index that are given again for as long as their repository's epoch lasts (epochs.py).

Bounded like ``registry_node.recent``, in entries and in bytes: two generations, the old one goes when the young one is
full, and whatever is asked for comes back into the young one. A hit is one look into a dict and one at a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from registry_node.storage.epochs import Epochs, group_of

ENTRIES, BYTES = 16384, 6 * 1024 * 1024  # of one generation
_EACH = 400  # bytes of an entry beside its two names: the answer, the numbers, the place in a dict

Key = tuple[str, str, str]
Known = tuple[int, int, Any]  # group, its number, the answer


class Remembered:
    """``ask(question, (repository, value))`` gives a row or None. Several threads may use it."""

    def __init__(self, epochs: Epochs, ask: Callable[[str, tuple[str, str]], Any]) -> None:
        self._numbers, self._ask = epochs.numbers, ask
        self.forget()

    def forget(self) -> None:
        self._young: dict[Key, Known] = {}
        self._old: dict[Key, Known] = {}
        self._bytes = 0

    def row(self, question: str, repository: str, value: str) -> Any:
        """What the index says now."""
        key = question, repository, value
        known = self._young.get(key)
        if known is not None and known[1] == self._numbers[known[0]]:
            return known[2]
        return self._row(key)

    def _row(self, key: Key) -> Any:
        known = self._old.pop(key, None)
        if known is None or known[1] != self._numbers[known[0]]:
            question, repository, value = key
            group = group_of(repository)
            number = self._numbers[group]
            known = group, number, self._ask(question, (repository, value))
            if number & 1 or number != self._numbers[group]:  # in doubt, or a commit came in between
                return known[2]
        self._keep(key, known)
        return known[2]

    def _keep(self, key: Key, known: Known) -> None:
        if len(self._young) >= ENTRIES or self._bytes >= BYTES:
            self._young, self._old, self._bytes = {}, self._young, 0
        if key not in self._young:
            self._bytes += _EACH + len(key[1]) + len(key[2])
        self._young[key] = known

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
