"""The short way of a read (prompt.py) through a virtual: members of this host, by their files.

It answers when each member before the one that has it has said no by itself, now. A member over HTTP in between, an older
index, a tag that several may have set last and one of them cannot tell: the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from registry_node.storage.neighbour import Neighbour


class _Plan(NamedTuple):
    """Who is asked, in order. ``newest``: the one among them that set the tag last."""

    nearby: Sequence[Nearby]
    newest: bool


class MembersPrompt(Prompt):
    """Of one event loop, as ``Prompt``."""

    def __init__(self, registry: VirtualRegistry, access: Access, records: Records) -> None:
        super().__init__(None, access, records)
        self._registry = registry

    def found(self, target: Target, asker: Asker) -> Rendered | None:
        for nearby in self._order(target, asker):
            reads = nearby.reads()
            if reads is None:
                return None
            name, reference = nearby.there(target.repository), target.reference
            if target.blob:
                content = reads.blob_bytes(name, reference, INLINE)
                if content is not None:
                    more = _line(nearby) + b"accept-ranges: bytes\r\n"
                    return rendered(OCTET_STREAM, reference, content, more)
            elif (named := reads.named(name, reference)) is not None:
                return self._manifests.get((*named, nearby.name)) or self._render_of(reads, named, nearby)
        return None

    def _render_of(self, reads: Neighbour, named: tuple[str, str], nearby: Nearby) -> Rendered | None:
        content = reads.manifest_bytes(named[1])
        if content is None:
            return None
        return self.keep((*named, nearby.name), rendered(*named, content, _line(nearby)))

    def _order(self, target: Target, asker: Asker) -> Sequence[Nearby]:
        """Raises Unavailable when one of them cannot tell when it set the tag."""
        made: tuple[Asker, _Plan] | None = target.plan
        if made is None or made[0] is not asker:  # an asker's grants never change: another policy makes another one
            made = target.plan = asker, self._plan(asker.caller.who, target.repository, target.tag)
        plan = made[1]
        if not plan.newest:
            return plan.nearby
        times: list[tuple[float, Nearby]] = []
        for each in plan.nearby:
            reads = each.reads()
            if reads is None:
                return ()
            when = reads.set_at(each.there(target.repository), target.reference)
            times += [(when, each)] if when is not None else []
        return [max(times, key=lambda each: each[0])[1]] if times else ()

    def _plan(self, who: Principal, repository: str, tag: str | None) -> _Plan:
        """A digest may be had from anyone; a tag only until a member comes that must be asked over HTTP."""
        registry = self._registry
        doors = [
            each for each in registry.doors_of(registry.routing.of(repository)) if _may(each, who, repository, tag)
        ]
        by_time = tag is not None and registry.newest
        if by_time:
            doors = [each for each in doors if each.kind == "local"]
        chosen: list[Nearby] = []
        for door in doors:
            if isinstance(door.registry, Nearby):
                chosen.append(door.registry)
            elif by_time:
                return _Plan((), newest=False)
            elif tag is not None:
                break
        return _Plan(chosen, newest=by_time and len(chosen) > 1)


def _may(door: Door, who: Principal, repository: str, tag: str | None) -> bool:
    """A grant for some tags leaves digests to the long way."""
    if tag is None:
        return door.rights.may_pull_any_digest(who, repository)
    return door.rights.may_pull(who, repository, tag)


def _line(nearby: Nearby) -> bytes:
    return f"{MEMBER}: {nearby.name}\r\n".encode()
