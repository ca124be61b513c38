"""Lists of several members as one, and who gave them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from oci_wire.registry import Call, Page
from registry_node.registries import merging
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.notes import name_members, pass_on

T = TypeVar("T")


class Source(merging.Source[T]):
    """One member's list. ``notes``: what the member says beside it."""

    def __init__(
        self,
        member: str,
        fetch: Callable[[str], Awaitable[Page[T]]],
        name: Callable[[T], str],
        keep: Callable[[str], bool],
        *,
        ordered: bool,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(partial(MemberFailed, member), fetch, name, keep, ordered=ordered)
        self.member, self.notes = member, {} if notes is None else notes


async def merged(
    sources: Sequence[Source[T]], name: Callable[[T], str], after: str, limit: int | None, call: Call
) -> Page[T] | None:
    """The first items of all sources after a name; ``call`` is told who gave them. None: no source knows of the list.
    Raises MemberFailed."""
    found = await merging.merged(sources, name, after, limit)
    if found is not None:
        _tell(call, sources)
    return found


def _tell(call: Call, sources: Sequence[Source[T]]) -> None:
    """Of an empty list: who says so."""
    known = [each for each in sources if each.known]
    pass_on(call, (each.notes for each in known))
    name_members(call, (each.member for each in known if each.gave or not any(other.gave for other in known)))
