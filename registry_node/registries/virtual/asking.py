"""One question, asked of members in order: who may be asked, whose answer ends it, and what an outage means.

Only a not-found goes on to the next member. An outage goes on where the next one's answer is as good: for a digest,
whose bytes prove themselves, and among the owners of a prefix, who are declared to answer for one another (decision
0012). Otherwise nobody can know what the tag means, and the client hears who is down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from oci_wire.errors import BlobUnknown, LoopDetected, ManifestUnknown, NameUnknown, RegistryError
from oci_wire.extension import Asked
from oci_wire.registry import Call
from registry_node.access import Challenged
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.notes import MEMBER, pass_on, warn
from registry_node.registries.virtual.rights import caller_of
from registry_node.registries.virtual.routing import Way

T = TypeVar("T")


@dataclass(slots=True)
class Question:
    """``way``: of the repository; ``proven``: it names a digest. ``asked``: what became of it, member by member."""

    call: Call
    repository: str
    reference: str
    way: Way
    proven: bool = False
    asked: list[Asked] = field(default_factory=list)
    failed: MemberFailed | None = None
    absent: RegistryError | None = None

    def heard(self, door: Door, outcome: str, reason: str = "") -> None:
        self.asked.append(Asked.model_validate({"member": door.name, "outcome": outcome, "reason": reason}))

    def onward(self) -> Call:
        """For a member: what it notes beside its answer is its own until that is taken."""
        return replace(self.call, ns=self.way.ns, notes={})

    async def first(
        self,
        doors: Sequence[Door],
        may: Callable[[Door], Awaitable[bool]],
        ask: Callable[[Door, Call], Awaitable[T]],
    ) -> tuple[Door, T]:
        """The first answer and who gave it; what that one notes of its age goes on. Raises MemberFailed, RangeInvalid,
        LoopDetected, NameUnknown, and ManifestUnknown or BlobUnknown where the repository is known."""
        for door in doors:
            onward = self.onward()
            found = await self._one(door, onward, may, ask)
            if found is not None:
                self._answered(door, doors, onward)
                return door, found[0]
            if self.failed is not None and not (self.proven or self.way.owned):
                break
        raise self.failed or self.unknown()

    async def _one(
        self,
        door: Door,
        onward: Call,
        may: Callable[[Door], Awaitable[bool]],
        ask: Callable[[Door, Call], Awaitable[T]],
    ) -> tuple[T] | None:
        try:
            if not await may(door):
                self.heard(door, "forbidden", "the caller may not pull it there")
                return None
            return (await door.ask(ask(door, onward)),)
        except ABSENT as error:
            self.absence(door, error)
        except MemberFailed as error:
            self.failure(door, error)
        except LoopDetected as error:
            self.heard(door, "failed", error.message)
            raise
        return None

    def absence(self, door: Door, error: RegistryError) -> None:
        self.heard(door, "absent", "it is not there")
        if self.absent is None or isinstance(self.absent, NameUnknown):
            self.absent = error

    def failure(self, door: Door, error: MemberFailed) -> None:
        self.heard(door, "failed", error.reason)
        self.failed = self.failed or error

    def _answered(self, door: Door, doors: Sequence[Door], onward: Call) -> None:
        self.heard(door, "answered")
        heard = {each.member for each in self.asked}
        for each in doors:
            if each.name not in heard:
                self.heard(each, "not asked", f"{door.name} has it")
        self.call.notes[MEMBER] = door.name
        pass_on(self.call, (onward.notes,))
        if self.failed is not None and not self.proven:
            warn(self.call, f"member {self.failed.member} could not answer; this is what {door.name} has")

    def unknown(self) -> RegistryError:
        """The same words whether it is absent or forbidden; the log has why. Whoever has not said who they are is asked."""
        forbidden = any(each.outcome == "forbidden" for each in self.asked)
        if forbidden and caller_of(self.call).anonymous:
            # Also where it is absent, as at a node that lets nobody unnamed in.
            return Challenged("sign in first: this needs an account", f"repository:{self.repository}:pull")
        if isinstance(self.absent, BlobUnknown | ManifestUnknown):
            return type(self.absent)(f"{self.repository} has no {self.reference[:140]} that you may pull")
        why = "unmatched" if not self.way.members else "no-grant" if forbidden else "absent"
        return NameUnknown(f"no repository {self.repository} that you may pull", why=why)
