"""What a node that leaves holds, and how much of it no other node of its scope has: asked of the nodes while they run.

As good as it gets: a node that does not answer is said to be one, and counts as one that may hold everything (when it
leaves) or nothing (when it stays).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from oci_wire.client import RemoteRegistry
from oci_wire.errors import NameUnknown, RegistryError
from oci_wire.registry import Call, every
from sites.rollout.canary import Gate

SECONDS = 60.0  # for all that one node is asked
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Content:
    """``alone``: tags whose image no sister has under any tag of the repository. ``unasked``: why the node could not be
    asked. ``silent``: sisters that could not."""

    repositories: int = 0
    tags: int = 0
    alone: int = 0
    unasked: str = ""
    silent: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """No tags: what an upload or a health gate left without one is nothing that anybody would miss."""
        return not self.unasked and not self.tags

    def __str__(self) -> str:
        if self.unasked:
            return f"could not be asked what it holds ({self.unasked})"
        if self.empty:
            return "holds no tags"
        text = f"holds {_many(self.tags, 'tag')}, {self.alone or 'none'} without another copy"
        return f"{text} ({', '.join(self.silent)} could not be asked)" if self.silent else text


async def content_of(gate: Gate, url: str, sisters: Mapping[str, str], seconds: float = SECONDS) -> Content:
    """``sisters``: URLs of the nodes of its scope that stay, by name. Never raises for what a node answers."""
    call = Call(deadline=time.monotonic() + seconds)
    async with contextlib.AsyncExitStack() as stack:
        own = await stack.enter_async_context(gate.registry(url))
        asked = {name: _Sister(await stack.enter_async_context(gate.registry(at))) for name, at in sisters.items()}
        try:
            async with asyncio.timeout(seconds):
                found = await _counted(call, own, asked)
        except (RegistryError, TimeoutError) as error:
            return Content(unasked=str(error) or f"no end of it within {seconds:.0f} s")
    silent = tuple(name for name, each in asked.items() if each.silent)
    return Content(found.repositories, found.tags, found.alone, silent=silent)


class _Sister:
    """Answers for its digests until it fails once; from then on it has nothing."""

    def __init__(self, registry: RemoteRegistry) -> None:
        self._registry, self.silent = registry, False

    async def digests(self, call: Call, repository: str) -> set[str]:
        if self.silent:
            return set()
        try:
            return {digest async for digest in _digests(call, self._registry, repository)}
        except NameUnknown:
            return set()
        except RegistryError:
            self.silent = True
            return set()


async def _counted(call: Call, own: RemoteRegistry, sisters: Mapping[str, _Sister]) -> Content:
    """Raises RegistryError."""
    many = asyncio.Semaphore(_AT_ONCE)

    async def count(repository: str) -> tuple[int, int]:
        async with many:
            held = [digest async for digest in _digests(call, own, repository)]
            found: set[str] = set()
            for each in sisters.values():
                found |= await each.digests(call, repository)
        return len(held), sum(digest not in found for digest in held)

    names = [name async for name in every(lambda after: own.repositories(call, after=after))]
    counts = await asyncio.gather(*(count(name) for name in names))
    return Content(len(names), sum(each for each, _ in counts), sum(each for _, each in counts))


async def _digests(call: Call, registry: RemoteRegistry, repository: str) -> AsyncIterator[str]:
    """One for each tag. Raises RegistryError."""
    after = ""
    while True:
        page = await registry.tag_states(call, repository, after=after)
        for each in page.tags if page else ():
            yield str(each.digest)
        if page is None or page.next is None:
            return
        after = page.next


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
