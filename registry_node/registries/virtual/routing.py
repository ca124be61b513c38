"""Which members may be asked for a repository, in which order, and the rule that says so. Pure.

An owned prefix leaves its owners never, whatever they answer: a name that a company uses inside must not be had from
outside because the inside is down or has deleted it (dependency confusion). A client may say which registry an image is
of (containerd's ``?ns=``): then only members that stand for that one are asked, and never more than without it.
"""

from __future__ import annotations

from dataclasses import dataclass

from identity.grants import matches
from oci_wire.errors import NameUnknown
from registry_node.recent import Recent
from registry_node.settings.virtual import Virtual

_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Way:
    """``members``: names, in the order in which they are asked; none: the repository looks absent. ``owned``: they
    answer for one another. ``ns``: what the members are told of whose image is meant."""

    members: tuple[str, ...]
    rule: str
    owned: bool = False
    ns: str = ""


def way(virtual: Virtual, repository: str, ns: str = "") -> Way:
    """The first glob that matches holds, then ``unmatched``; of these members, those that ``ns`` means. Raises NameUnknown
    for an ns that means no member."""
    routed, meant = _by_name(virtual, repository), meant_by(virtual, ns)
    if not meant.ns:
        return routed
    members = tuple(each for each in routed.members if each in meant.members)
    return Way(members, f"{routed.rule}, {meant.rule}", routed.owned, meant.ns)


def meant_by(virtual: Virtual, ns: str) -> Way:
    """The members that an ns means, all without one. The list is closed: nobody is asked under a strange name. Raises
    NameUnknown."""
    if not ns or ns in map(str.lower, virtual.hosts):
        return Way(tuple(each.name for each in virtual.members), "all members in order")
    found = tuple(each.name for each in virtual.members if ns in map(str.lower, each.hosts))
    if not found:
        known = sorted({*virtual.hosts, *(host for each in virtual.members for host in each.hosts)})
        told = ", ".join(known) if known else "none is declared"
        raise NameUnknown(f"?ns={ns[:120]} is no registry that this virtual stands for: {told}", why="ns")
    return Way(found, f"ns={ns}", ns=ns)


def _by_name(virtual: Virtual, repository: str) -> Way:
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
        self._known: Recent[tuple[str, str], Way] = Recent(_REMEMBERED)

    def of(self, repository: str, ns: str = "") -> Way:
        """Raises NameUnknown."""
        key = repository, _plain(ns)
        found = self._known.get(key)
        if found is None:
            found = way(self._virtual, *key)
            self._known.put(key, found)
        return found

    def of_all(self, ns: str = "") -> Way:
        """Of a catalog. Raises NameUnknown."""
        return meant_by(self._virtual, _plain(ns))


def _plain(ns: str) -> str:
    return ns and ns.lower().rstrip(".")
