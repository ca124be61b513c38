"""Manifests and blobs of the members."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.recent import Recent
from registry_node.registries.virtual.asking import Question
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.reach import Reach
from registry_node.registries.virtual.rights import caller_of
from registry_node.registries.virtual.routing import Routing, Way
from registry_node.settings.virtual import Virtual

T = TypeVar("T")
Ask = Callable[[Door, Call], Awaitable[T]]  # with the call for a member
_REMEMBERED = 8192  # repositories


class VirtualReads:
    """The ``Reader`` of a virtual."""

    def __init__(self, virtual: Virtual, doors: Sequence[Door]) -> None:
        self.doors = {each.name: each for each in doors}
        self.routing = Routing(virtual)
        self.newest = virtual.resolve == "newest"
        self._reach = {each.name: Reach(each.registry) for each in doors}
        self._sources: Recent[str, str] = Recent(_REMEMBERED)  # repository -> who gave its last manifest

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        question = self.question(call, repository, reference)
        return await self._manifest(question, lambda door, own: door.registry.resolve(own, repository, reference))

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        question = self.question(call, repository, reference)
        return await self._manifest(question, lambda door, own: door.registry.get_manifest(own, repository, reference))

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        return await self._blob(
            call, repository, digest, lambda door, own: door.registry.stat_blob(own, repository, digest)
        )

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        return await self._blob(
            call, repository, digest, lambda door, own: door.registry.open_blob(own, repository, digest, span)
        )

    # How

    def question(self, call: Call, repository: str, reference: str) -> Question:
        """Raises NameInvalid, TagInvalid, DigestInvalid, NameUnknown (an ns that means nobody)."""
        call.remaining()
        proven = looks_like_digest(reference)
        reference = str(Digest.parse(reference)) if proven else check_tag(reference)
        return Question(call, repository, reference, self.routing.of(check_repository(repository), call.ns), proven)

    def doors_of(self, way: Way) -> list[Door]:
        return [self.doors[name] for name in way.members]

    async def _manifest(self, question: Question, ask: Ask[T]) -> T:
        doors = await self.order(question)
        door, found = await question.first(doors, partial(self.may_pull, question), ask)
        self._sources.put(question.repository, door.name)
        return found

    async def _blob(self, call: Call, repository: str, digest: Digest, ask: Ask[T]) -> T:
        """First of whoever gave the repository's manifest, then of the others."""
        question = self.question(call, repository, str(digest))
        doors, likely = self.doors_of(question.way), self._sources.get(repository)
        doors.sort(key=lambda door: door.name != likely)
        return (await question.first(doors, partial(self.may_pull, question), ask))[1]

    async def may_pull(self, question: Question, door: Door) -> bool:
        """Whether the caller may pull it there. A grant for some tags is one for what these reach."""
        who, rights, repository = caller_of(question.call), door.rights, question.repository
        if not question.proven:
            return rights.may_pull(who, repository, question.reference)
        if rights.may_pull_any_digest(who, repository):
            return True
        if not rights.may_pull(who, repository):
            return False
        wanted = partial(rights.may_pull, who, repository)
        digest = Digest.parse(question.reference)
        return await door.ask(self._reach[door.name].reached(question.onward(), repository, digest, wanted))

    async def order(self, question: Question) -> list[Door]:
        """Who is asked, in order: as declared, or for a tag the local member first that set it last."""
        doors = self.doors_of(question.way)
        local = [each for each in doors if each.kind == "local"]
        if not self.newest or question.proven or len(local) < 2:
            return doors
        times = await asyncio.gather(*(self._set_at(question, each) for each in local))
        if question.failed is not None and not question.way.owned:
            raise question.failed
        found = [(when, door) for when, door in zip(times, local, strict=True) if when is not None]
        found.sort(key=lambda each: -each[0])  # stable: of those set at one time, the first declared
        for when, door in found[1:]:
            question.heard(door, "older", f"set {found[0][0] - when:.0f} s before that of {found[0][1].name}")
        return [door for _, door in found] + [each for each in doors if each.kind != "local"]

    async def _set_at(self, question: Question, door: Door) -> float | None:
        """When this tag was set there, for a caller who may see it; None: it is not there."""
        if not await self.may_pull(question, door):
            question.heard(door, "forbidden", "the caller may not pull it there")
            return None
        try:
            asked = door.registry.why(question.onward(), question.repository, question.reference)
            pushed = (await door.ask(asked)).pushed
        except NameUnknown as error:
            question.absence(door, error)
            return None
        except MemberFailed as error:
            question.failure(door, error)
            return None
        if pushed is None:
            question.absence(door, ManifestUnknown("it is not there"))
        return pushed
