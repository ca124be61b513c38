"""What a node that leaves holds, and how much of it no other node of its scope has: asked of the nodes while they run.

Tags are listed; manifests, of which many have no tag, are known by the node's events, as no registry lists them
(distribution-spec 1.1 has no such call). As good as it gets: a node that does not answer is said to be one, and counts as
one that may hold everything (when it leaves) or nothing (when it stays).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace

from oci_wire.client import RemoteRegistry
from oci_wire.errors import NameUnknown, RegistryError
from oci_wire.registry import Call, every
from sites.rollout.canary import Gate, canary

SECONDS = 60.0  # for all that one node is asked
_AT_ONCE = 4
_Held = Mapping[str, frozenset[str]]  # digests by repository


@dataclass(frozen=True, slots=True)
class Content:
    """``alone``: tags whose image no sister has under any tag of the repository. ``manifests``: all, with a tag or without;
    ``rare``: those that no sister has. ``unasked``: why the node could not be asked; ``unlisted``: why it could not be
    asked for manifests. ``silent``: sisters that could not."""

    repositories: int = 0
    tags: int = 0
    alone: int = 0
    manifests: int = 0
    rare: int = 0
    unasked: str = ""
    unlisted: str = ""
    silent: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Neither tags nor manifests: blobs that an upload or a health gate left are nothing that anybody would miss."""
        return not (self.unasked or self.tags or self.manifests or self.unlisted)

    def __str__(self) -> str:
        if self.unasked:
            return f"could not be asked what it holds ({self.unasked})"
        if self.empty:
            return "holds no images"
        text = f"holds {_many(self.tags, 'tag')}, {self.alone or 'none'} without another copy; {self._by_digest}"
        return f"{text} ({', '.join(self.silent)} could not be asked)" if self.silent else text

    @property
    def _by_digest(self) -> str:
        if self.unlisted:
            return f"what it holds without a tag is not known ({self.unlisted})"
        return f"{_many(self.manifests, 'manifest')} in all, {self.rare or 'none'} without another copy"


async def content_of(
    gate: Gate, url: str, sisters: Mapping[str, str], seconds: float = SECONDS, *, node: str = ""
) -> Content:
    """``sisters``: URLs of the nodes of its scope that stay, by name. Never raises for what a node answers."""
    call = Call(deadline=time.monotonic() + seconds)
    async with contextlib.AsyncExitStack() as stack:
        own = await stack.enter_async_context(gate.registry(url))
        asked = {name: _Sister(await stack.enter_async_context(gate.registry(at))) for name, at in sisters.items()}
        try:
            async with asyncio.timeout(seconds):
                tags, alone, repositories = await _tags(call, own, asked.values())
        except (RegistryError, TimeoutError) as error:
            return Content(unasked=_why(error, seconds))
        found = Content(len(repositories), tags, alone)
        if repositories:
            found = await _with_manifests(call, own, asked.values(), found, str(canary(node).digest))
    silent = tuple(name for name, each in asked.items() if each.silent)
    return replace(found, silent=silent)


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

    async def manifests(self, call: Call) -> _Held:
        if self.silent:
            return {}
        try:
            return await _manifests(call, self._registry)
        except RegistryError:
            self.silent = True
            return {}


async def _tags(call: Call, own: RemoteRegistry, sisters: Iterable[_Sister]) -> tuple[int, int, list[str]]:
    """How many, how many of them nobody else has, and the repositories. Raises RegistryError."""
    many = asyncio.Semaphore(_AT_ONCE)

    async def count(repository: str) -> tuple[int, int]:
        async with many:
            held = [digest async for digest in _digests(call, own, repository)]
            found: set[str] = set()
            for each in sisters:
                found |= await each.digests(call, repository)
        return len(held), sum(digest not in found for digest in held)

    names = [name async for name in every(lambda after: own.repositories(call, after=after))]
    counts = await asyncio.gather(*(count(name) for name in names))
    return sum(each for each, _ in counts), sum(each for _, each in counts), names


async def _with_manifests(
    call: Call, own: RemoteRegistry, sisters: Iterable[_Sister], found: Content, gates: str
) -> Content:
    """``gates``: the digest that a health gate may have left."""
    try:
        async with asyncio.timeout(call.remaining()):
            held = {(name, each) for name, some in (await _manifests(call, own)).items() for each in some - {gates}}
            there: set[tuple[str, str]] = set()
            for sister in sisters if held else ():
                there |= {(name, each) for name, some in (await sister.manifests(call)).items() for each in some}
    except (RegistryError, TimeoutError) as error:
        return replace(found, unlisted=_why(error, SECONDS))
    return replace(found, manifests=len(held), rare=len(held - there))


async def _manifests(call: Call, registry: RemoteRegistry) -> _Held:
    """All that came and did not go. Raises RegistryError; Gone from a node that no longer has all of its events."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    position = 0
    while True:
        before = position
        async for event in registry.events(call, after=position):
            position = event.position
            if event.kind == "manifest" and event.digest:
                held[event.repository].add(event.digest)
            elif event.kind == "manifest-deleted" and event.old:
                held[event.repository].discard(event.old)
        if position == before:
            return {name: frozenset(each) for name, each in held.items() if each}


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


def _why(error: Exception, seconds: float) -> str:
    return str(error) or f"no end of it within {seconds:.0f} s"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
