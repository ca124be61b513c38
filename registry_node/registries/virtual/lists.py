"""Tags, repositories and referrers of all members that may answer, merged.

A list is whole or it is an error: a member that is down is a 503 that names it. The one exception is a registry that is
not ours and lists no repositories to anybody (Docker Hub): a catalog is without it, and says so (Warning).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Denied, NameUnknown, Unauthorized, Unsupported
from oci_wire.registry import Call, Page
from registry_node.registries.virtual.asking import Question
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.merging import Source, merged
from registry_node.registries.virtual.notes import warn
from registry_node.registries.virtual.reads import VirtualReads
from registry_node.registries.virtual.rights import caller_of

T = TypeVar("T")
_NO_CATALOG = (Unsupported, Unauthorized, Denied, NameUnknown)


def _itself(name: str) -> str:
    return name


def _digest(descriptor: Descriptor) -> str:
    return str(descriptor.digest)


class VirtualLists(VirtualReads):
    """The ``Lister`` of a virtual."""

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        call.remaining()
        size, way = _page_size(limit), self.routing.of_all(call.ns)
        sources = []
        for door in self.doors_of(way):
            own = replace(call, ns=way.ns, notes={})
            sources.append(
                _source(door, own, partial(_catalog, door, own, size), _itself, partial(self._lists, call, door))
            )
        return await merged(sources, _itself, after, limit, call) or Page(())

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        question, size = self.question(call, repository, "latest"), _page_size(limit)
        sources = []
        for door in self._readable(question):
            own, keep = question.onward(), partial(door.rights.may_pull, caller_of(call), repository)
            sources.append(_source(door, own, partial(_tags, own, door, repository, size), _itself, keep))
        found = await merged(sources, _itself, after, limit, call)
        if found is None:
            for each in self.doors_of(question.way):
                if not each.rights.may_pull(caller_of(call), repository):
                    question.heard(each, "forbidden")
            raise question.unknown()
        return found

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        """Of members where the caller may pull the digest: what refers to it may lie elsewhere than it does."""
        question = self.question(call, repository, str(digest))
        sources = []
        for door in self._readable(question):
            if await self.may_pull(question, door):
                own = question.onward()
                fetch = partial(_referrers, own, door, repository, (digest, artifact_type))
                sources.append(_source(door, own, fetch, _digest, bool))
        return await merged(sources, _digest, after, None, call) or Page(())

    def _readable(self, question: Question) -> list[Door]:
        who, repository = caller_of(question.call), question.repository
        return [each for each in self.doors_of(question.way) if each.rights.may_pull(who, repository)]

    def _lists(self, call: Call, door: Door, repository: str) -> bool:
        """Whether a catalog shows this repository of that member."""
        routed = door.name in self.routing.of(repository, call.ns).members
        return routed and door.rights.may_pull(caller_of(call), repository)


async def _catalog(door: Door, call: Call, size: int | None, after: str) -> Page[str]:
    try:
        return await door.registry.repositories(call, after=after, limit=size)
    except _NO_CATALOG:
        if door.kind != "remote":
            raise
        warn(call, f"{door.name} lists no repositories; this list is without it")
        return Page(())


async def _tags(call: Call, door: Door, repository: str, size: int | None, after: str) -> Page[str]:
    return await door.registry.tags(call, repository, after=after, limit=size)


async def _referrers(
    call: Call, door: Door, repository: str, wanted: tuple[Digest, str], after: str
) -> Page[Descriptor]:
    digest, kind = wanted
    return await door.registry.referrers(call, repository, digest, artifact_type=kind, after=after)


def _page_size(limit: int | None) -> int | None:
    """One more than is shown tells whether there are more."""
    return None if limit is None else limit + 1


def _source(
    door: Door,
    call: Call,
    fetch: Callable[[str], Awaitable[Page[T]]],
    name: Callable[[T], str],
    keep: Callable[[str], bool],
) -> Source[T]:
    async def asked(after: str) -> Page[T]:
        return await door.ask(fetch(after))

    return Source(door.name, asked, name, keep, ordered=door.kind != "remote", notes=call.notes)
