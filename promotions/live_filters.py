"""Which filters of a topology fit nothing that a node holds now (D9)."""

from __future__ import annotations

from collections.abc import Sequence

from identity.grants import matches
from oci_wire.errors import NameUnknown
from oci_wire.registry import Call, Registry, every
from topology.filters import Filter


async def unmatched(registry: Registry, call: Call, filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """Those that fit no repository, or no tag of the repositories that they are about. Reads no further than until each
    has fitted something. Nothing is said of a node without any repository, nor of the tags of repositories that are not
    there. Raises RegistryError."""
    waiting, about = list(filters), set[Filter]()
    holds = False
    async for repository in every(lambda after: registry.repositories(call, after=after)):
        holds = True
        waiting = [each for each in waiting if each.of_tags or not matches(repository, (each.glob,))]
        asked = [each for each in waiting if each.of_tags and matches(repository, each.repositories)]
        if asked:
            fitted, some = await _fitted(registry, call, repository, asked)
            about |= set(asked) if some else set()
            waiting = [each for each in waiting if each not in fitted]
        if not waiting:
            return ()
    return tuple(each for each in waiting if holds and (not each.of_tags or each in about))


async def _fitted(
    registry: Registry, call: Call, repository: str, filters: Sequence[Filter]
) -> tuple[set[Filter], bool]:
    """Those that fit a tag of the repository; and whether it has any."""
    fitted, some = set[Filter](), False
    try:
        async for tag in every(lambda after: registry.tags(call, repository, after=after)):
            some = True
            fitted |= {each for each in filters if matches(tag, (each.glob,))}
            if len(fitted) == len(filters):
                break
    except NameUnknown:  # it went meanwhile
        pass
    return fitted, some
