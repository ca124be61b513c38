"""Tags, repositories and referrers of all members that may answer, merged.

A list is whole or it is an error: a member that is down is a 503 that names it. The one exception is a registry that is
not ours and lists no repositories to anybody (Docker Hub): a catalog is without it, and says so (Warning).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Denied, NameUnknown, Unauthorized, Unsupported
from oci_wire.registry import Call, Page
from registry_node.registries.virtual.asking import Question
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.merging import Source, merged
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
        size = _page_size(limit)
        sources = [
            _source(door, partial(self._catalog, call, door, size), _itself, partial(self._lists, call, door))
            for door in self.doors.values()
        ]
        return await merged(sources, _itself, after, limit) or Page(())

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        who, size = caller_of(call), _page_size(limit)
        sources = [
            _source(
                door,
                partial(_tags, call, door, repository, size),
                _itself,
                partial(door.rights.may_pull, who, repository),
            )
            for door in self._readable(call, repository)
        ]
        found = await merged(sources, _itself, after, limit)
        if found is None:
            raise self.question(call, repository, "latest").unknown()
        return found

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        """Of members where the caller may pull the digest: what refers to it may lie elsewhere than it does."""
        question = self.question(call, repository, str(digest))
        sources = [
            _source(
                door,
                partial(_referrers, question, door, artifact_type),
                _digest,
                bool,
            )
            for door in self._readable(call, repository)
            if await self.may_pull(question, door)
        ]
        return await merged(sources, _digest, after, None) or Page(())

    def _readable(self, call: Call, repository: str) -> list[Door]:
        """Raises NameInvalid."""
        way, who = self.question(call, repository, "latest").way, caller_of(call)
        return [each for each in self.doors_of(way) if each.rights.may_pull(who, repository)]

    def _lists(self, call: Call, door: Door, repository: str) -> bool:
        """Whether a catalog shows this repository of that member."""
        routed = door.name in self.routing.of(repository).members
        return routed and door.rights.may_pull(caller_of(call), repository)

    async def _catalog(self, call: Call, door: Door, size: int | None, after: str) -> Page[str]:
        try:
            return await door.registry.repositories(call, after=after, limit=size)
        except _NO_CATALOG:
            if door.kind != "remote":
                raise
            call.notes["warning"] = f'199 towpath "{door.name} lists no repositories; this list is without it"'
            return Page(())


async def _tags(call: Call, door: Door, repository: str, size: int | None, after: str) -> Page[str]:
    return await door.registry.tags(call, repository, after=after, limit=size)


async def _referrers(question: Question, door: Door, artifact_type: str, after: str) -> Page[Descriptor]:
    digest, kind = Digest.parse(question.reference), artifact_type
    return await door.registry.referrers(question.call, question.repository, digest, artifact_type=kind, after=after)


def _page_size(limit: int | None) -> int | None:
    """One more than is shown tells whether there are more."""
    return None if limit is None else limit + 1


def _source(
    door: Door, fetch: Callable[[str], Awaitable[Page[T]]], name: Callable[[T], str], keep: Callable[[str], bool]
) -> Source[T]:
    async def asked(after: str) -> Page[T]:
        return await door.ask(fetch(after))

    return Source(door.name, asked, name, keep, ordered=door.kind != "remote")
