"""The short way of a read (prompt.py) through a virtual: members of this host, by their files.

It answers when each member before the one that has it has said no by itself, now. A member over HTTP in between, an older
index, a tag that several may have set last and one of them cannot tell: the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from identity.grants import Principal
from oci_wire.descriptor import OCTET_STREAM
from registry_node.access import Access
from registry_node.known_heads import Asker, Target
from registry_node.prompt import INLINE, Prompt, Rendered, rendered
from registry_node.records import Records
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.nearby import Nearby
from registry_node.registries.virtual.notes import MEMBER
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.storage.neighbour import Mark, Neighbour


class _Known(NamedTuple):
    """What was found for ``asker``, by whose grants: it holds as long as the marks of all whom it depends on.

    ``size``: of a blob; ``key``: of a manifest: media type, digest, member."""

    asker: Asker
    held: tuple[tuple[Neighbour, Mark], ...]
    reads: Neighbour
    line: bytes  # of the answer's head
    size: int
    key: tuple[str, str, str]


class MembersPrompt(Prompt):
    """Of one event loop, as ``Prompt``."""

    def __init__(self, registry: VirtualRegistry, access: Access, records: Records) -> None:
        super().__init__(None, access, records)
        self._registry = registry

    def found(self, target: Target, asker: Asker) -> Rendered | None:
        known: _Known | None = target.plan
        if (
            known is not None and known.asker is asker
        ):  # an asker's grants never change: another policy makes another one
            for reads, mark in known.held:
                if not reads.holds(mark):
                    break
            else:
                return self._blob_of(known, target) if target.blob else self._manifest_of(known)
        target.plan = None  # also when this one raises
        known = target.plan = self._ask(target, asker)
        if known is None:
            return None
        return self._blob_of(known, target) if target.blob else self._manifest_of(known)

    def _blob_of(self, known: _Known, target: Target) -> Rendered | None:
        content = known.reads.files.content(target.reference, known.size)
        return None if content is None else rendered(OCTET_STREAM, target.reference, content, known.line)

    def _manifest_of(self, known: _Known) -> Rendered | None:
        return self._manifests.get(known.key) or self._render_of(known)

    def _render_of(self, known: _Known) -> Rendered | None:
        media_type, digest, _ = known.key
        content = known.reads.manifest_bytes(digest)
        return None if content is None else self.keep(known.key, rendered(media_type, digest, content, known.line))

    def _ask(self, target: Target, asker: Asker) -> _Known | None:
        """The first one that has it; None: the long way. Raises RegistryError."""
        held: list[tuple[Neighbour, Mark]] = []
        for nearby in self._order(target, asker.caller.who, held):
            reads, name = nearby.reads(), nearby.there(target.repository)
            if reads is None:
                return None
            held.append((reads, reads.mark(name)))
            if target.blob:
                size = reads.blob_size(name, target.reference)
                if size is not None:
                    line = _line(nearby.name) + b"accept-ranges: bytes\r\n"
                    return _Known(asker, tuple(held), reads, line, size, ("", "", "")) if size <= INLINE else None
            elif (named := reads.named(name, target.reference)) is not None:
                return _Known(asker, tuple(held), reads, _line(nearby.name), 0, (*named, nearby.name))
        return None

    def _order(self, target: Target, who: Principal, held: list[tuple[Neighbour, Mark]]) -> Sequence[Nearby]:
        """Who is asked. ``held`` gets the marks of those whose time the order depends on. Raises Unavailable when one of
        them cannot tell when it set the tag, NameUnknown."""
        nearby, by_time = self._near(target, who)
        if not by_time:
            return nearby
        times: list[tuple[float, Nearby]] = []
        for each in nearby:
            reads = each.reads()
            if reads is None:
                return ()
            held.append((reads, reads.mark(each.there(target.repository))))
            when = reads.set_at(each.there(target.repository), target.reference)
            times += [(when, each)] if when is not None else []
        return [max(times, key=lambda each: each[0])[1]] if times else ()

    def _near(self, target: Target, who: Principal) -> tuple[Sequence[Nearby], bool]:
        """A digest may be had from anyone; a tag only until a member comes that must be asked over HTTP. And whether the
        one among them answers that set the tag last."""
        registry, tag = self._registry, target.tag
        way = registry.routing.of(target.repository, target.ns)
        doors = [each for each in registry.doors_of(way) if _may(each, who, target.repository, tag)]
        by_time = tag is not None and registry.newest
        if by_time:
            doors = [each for each in doors if each.kind == "local"]
        chosen: list[Nearby] = []
        for door in doors:
            if isinstance(door.registry, Nearby):
                chosen.append(door.registry)
            elif by_time:
                return (), False
            elif tag is not None:
                break
        return chosen, by_time and len(chosen) > 1


def _may(door: Door, who: Principal, repository: str, tag: str | None) -> bool:
    """A grant for some tags leaves digests to the long way."""
    if tag is None:
        return door.rights.may_pull_any_digest(who, repository)
    return door.rights.may_pull(who, repository, tag)


@cache
def _line(member: str) -> bytes:
    return f"{MEMBER}: {member}\r\n".encode()
