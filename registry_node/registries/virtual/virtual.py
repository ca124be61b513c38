"""``VirtualRegistry``: one endpoint over ordered members."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.extension import Explanation
from oci_wire.registry import Call
from oci_wire.unextended import Unextended
from registry_node.access import Challenged
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.virtual.asking import Question
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.reach import Reach
from registry_node.registries.virtual.rights import caller_of
from registry_node.registries.virtual.sessions import KEY_BYTES, Sessions
from registry_node.registries.virtual.writes import VirtualWrites
from registry_node.settings.virtual import Virtual


class VirtualRegistry(VirtualWrites, Unextended):
    """Satisfies ``Registry``; of ``Extension`` it knows ``why``. ``doors``: one for each member, by its name; ``key``:
    for the ids of upload sessions (sessions.py)."""

    def __init__(self, virtual: Virtual, doors: Sequence[Door], *, node: str, key: bytes = b"") -> None:
        super().__init__(virtual, doors)
        self.node, self.push_to = node, virtual.push_to
        names = self.doors[virtual.push_to].names if virtual.push_to else ""
        self.sessions = Sessions(key or secrets.token_bytes(KEY_BYTES), virtual.push_to or "", names)
        self._reach_of_all = Reach(self)

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        return await self._reach_of_all.reached(replace(call, notes={}), repository, digest, wanted)

    async def aclose(self) -> None:
        """Ends the connections to its members."""
        for each in self.doors.values():
            await each.aclose()

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        """The very question that a read asks, and what became of it. A digest may be a manifest's or a blob's. Raises
        Challenged, as the read does."""
        question = self.question(call, repository, reference)
        found = door = None
        try:
            door, found = await question.first(
                await self.order(question),
                lambda each: self.may_pull(question, each),
                lambda each, own: _named(each, own, question),
            )
        except Challenged:
            raise
        except RegistryError:
            pass  # it is heard, member by member
        inner = await _inside(question, door) if door else None
        self._not_asked(question)
        return Explanation(
            node=self.node,
            repository=repository,
            reference=reference,
            digest=str(found.digest) if found else None,
            answered=door.name if door else None,
            rule=question.way.rule,
            pushed=inner.pushed if inner else None,
            asked=tuple(question.asked),
        )

    def _not_asked(self, question: Question) -> None:
        heard, way = {each.member for each in question.asked}, question.way
        for each in self.doors.values():
            if each.name in heard:
                continue
            if not each.rights.may_pull(caller_of(question.call), question.repository):
                question.heard(each, "forbidden", "the caller may not pull it there")
            else:
                kept = "a member before it could not answer" if each.name in way.members else way.rule
                question.heard(each, "not asked", kept)


async def _named(door: Door, call: Call, question: Question) -> Descriptor:
    try:
        return await door.registry.resolve(call, question.repository, question.reference)
    except ABSENT:
        if not question.proven:
            raise
        return await door.registry.stat_blob(call, question.repository, Digest.parse(question.reference))


async def _inside(question: Question, door: Door) -> Explanation | None:
    """What the member itself says of it, where it is one of ours; its words become the reason."""
    if door.kind == "remote":
        return None
    try:
        found = await door.ask(door.registry.why(question.onward(), question.repository, question.reference))
    except RegistryError:
        return None
    if door.kind != "local" and found.answered:  # of a blob it says nothing
        said = f"there: {found.answered} ({found.rule})"
        place = next(at for at, each in enumerate(question.asked) if each.outcome == "answered")
        question.asked[place] = question.asked[place].model_copy(update={"reason": said})
    return found
