"""Which members may be asked for a repository, in which order, and the rule that says so. Pure.

An owned prefix leaves its owners never, whatever they answer: a name that a company uses inside must not be had from
outside because the inside is down or has deleted it (dependency confusion).
"""

from __future__ import annotations

from dataclasses import dataclass

from identity.grants import matches
from registry_node.recent import Recent
from registry_node.settings.virtual import Virtual

_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Way:
    """``members``: names, in the order in which they are asked; none: the repository looks absent. ``owned``: they
    answer for one another."""

    members: tuple[str, ...]
    rule: str
    owned: bool = False


def way(virtual: Virtual, repository: str) -> Way:
    """The first glob that matches holds, then ``unmatched``."""
    for owner in virtual.owns:
        if matches(repository, (owner.repositories,)):
            return Way(tuple(dict.fromkeys(owner.members)), f"owns {owner.repositories}", owned=True)
    if virtual.unmatched == "deny":
        return Way((), "unmatched: deny")
    return Way(tuple(each.name for each in virtual.members), "unmatched: members in order")


class Routing:
    """``way`` of the last repositories, remembered."""

    def __init__(self, virtual: Virtual) -> None:
        self._virtual = virtual
        self._known: Recent[str, Way] = Recent(_REMEMBERED)

    def of(self, repository: str) -> Way:
        found = self._known.get(repository)
        if found is None:
            found = way(self._virtual, repository)
            self._known.put(repository, found)
        return found
