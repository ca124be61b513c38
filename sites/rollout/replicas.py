"""Whether the nodes that go on serving a scope hold what the one that goes down holds, by the names of its tags.

A replica on a rebuilt host is ready long before replication has filled it. Asked with bounded work: of a large node a part
is looked at, and one that cannot be read in time is not compared, as reading is no promise of ours while serving is.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from oci_wire.client import RemoteRegistry
from oci_wire.errors import NameUnknown, RegistryError
from oci_wire.registry import Call, every
from sites.hosts import HostError
from sites.rollout.canary import Gate
from topology.edges import Replication
from topology.model import Topology
from topology.nodes import LocalNode, Role

SHARE = 0.9  # of a node's tags: less than all, as some of what was pushed may still be on its way
FRESH_SECONDS = 60.0  # a tag pushed this long before the rollout, or since, is not asked of others yet
CATCH_UP_SECONDS = 60.0
POLL_SECONDS = 2.0
READ_SECONDS = 5.0  # for all that one node is asked
_MOST_REPOSITORIES = 200
_MOST_TAGS = 1000  # of one repository
_AT_ONCE = 4
_Tags = frozenset[tuple[str, str]]  # repository, tag


@dataclass(frozen=True, slots=True)
class Copy:
    """What a sister holds of a node's tags: ``held`` of ``wanted``. ``uncompared``: why that is not known."""

    sister: str
    enough: bool = True
    held: int = 0
    wanted: int = 0
    uncompared: str = ""


async def copies_of(
    gate: Gate, topology: Topology, node: str, urls: Mapping[str, str], before: float
) -> tuple[Copy, ...]:
    """One for each of the other nodes in ``urls``: where they and the node itself answer now. ``before``: Unix time; a tag
    pushed after it is no reason to wait. Never raises for what a node answers."""
    sisters = [each for each in urls if each != node]
    own = await _in_time(lambda: _tags(gate, urls[node], before))
    if isinstance(own, str):
        return tuple(Copy(each, uncompared=f"{node} could not be read: {own}") for each in sisters)
    found = await asyncio.gather(*(_compared(gate, topology, (node, each), urls[each], own) for each in sisters))
    answers = dict(zip(sisters, found, strict=True))
    deletes = not any(each.deletes == "never" for each in _into(topology, node))
    still: _Tags = frozenset()
    for name, held in answers.items():
        if not deletes and _is_primary(topology, name) and not isinstance(held, str):
            still = held  # what the primary deleted a replica may keep for good, and no other one need have
    return tuple(_copy(topology, each, held, own, still, deletes=deletes) for each, held in answers.items())


def behind(topology: Topology, node: str, copies: Iterable[Copy], seconds: float) -> HostError:
    """What is reported when they did not catch up."""
    late = [each for each in copies if not each.enough]
    ways = dict.fromkeys(way for each in late for way in _ways(topology, node, each.sister))
    why = "; ".join(f"{each.sister} holds {each.held} of {each.wanted} tags of {node}" for each in late)
    return HostError(
        "replicas-behind",
        f"node {node} was left alone: what it holds could not be pulled elsewhere while it restarts",
        where=f"scope {_local(topology, node).scope}",
        why=f"{why} (wanted: {SHARE:.0%}); {seconds:.0f} s did not change that",
        next=f"run {' and '.join(ways)}, then the same command again",
    )


def _ways(topology: Topology, node: str, sister: str) -> list[str]:
    """Commands that bring the sister what it lacks."""
    if _is_primary(topology, sister):
        return [f"towpath replicate {each.id} --from {node}" for each in _into(topology, node)]
    return [f"towpath replicate {each.id}" for each in _into(topology, sister)]


def _copy(topology: Topology, sister: str, held: _Tags | str, own: _Tags, still: _Tags, *, deletes: bool) -> Copy:
    if isinstance(held, str):
        return Copy(sister, uncompared=held)
    if _is_primary(topology, sister) and not deletes:
        return Copy(sister, bool(held or not own), len(held), len(own))
    wanted = (own & still) or own
    there = len(held & wanted)
    return Copy(sister, there >= SHARE * len(wanted), there, len(wanted))


async def _compared(gate: Gate, topology: Topology, pair: tuple[str, str], url: str, own: _Tags) -> _Tags | str:
    """``pair``: the node that goes down and its sister. What of ``own`` is there; or why that cannot be known."""
    node, sister = pair
    if not own:
        return own
    if not _whole(topology, sister) or not _ways(topology, node, sister):
        return "no replication without a filter fills it"  # so that nobody could ever bring it what it lacks
    return await _in_time(lambda: _found(gate, url, own))


def _whole(topology: Topology, node: str, seen: Sequence[str] = ()) -> bool:
    """Whether replication gives it all that its scope's primary holds."""
    if _is_primary(topology, node):
        return True
    return any(
        not _filtered(each) and each.source not in seen and _whole(topology, each.source, (*seen, node))
        for each in _into(topology, node)
    )


def _filtered(each: Replication) -> bool:
    return each.repositories != Replication.model_fields["repositories"].default or each.tags != type(each.tags)()


def _into(topology: Topology, node: str) -> list[Replication]:
    return [each for each in topology.replications if node in each.targets]


def _is_primary(topology: Topology, node: str) -> bool:
    return getattr(topology.nodes[node], "role", None) is Role.PRIMARY


def _local(topology: Topology, node: str) -> LocalNode:
    declared = topology.nodes[node]
    assert isinstance(declared, LocalNode)
    return declared


async def _in_time(read: Callable[[], Awaitable[_Tags]]) -> _Tags | str:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await read()
    except TimeoutError:
        return f"no end of it within {READ_SECONDS:.0f} s"
    except RegistryError as error:
        return error.message


async def _tags(gate: Gate, url: str, before: float) -> _Tags:
    """Of at most _MOST_REPOSITORIES, spread over all of them, as replication may fill a node in their order."""
    call = Call(deadline=time.monotonic() + READ_SECONDS)
    async with gate.registry(url) as registry:
        names = [name async for name in every(lambda after: registry.repositories(call, after=after))]
        some = names[:: max(1, -(-len(names) // _MOST_REPOSITORIES))]

        async def one(repository: str) -> set[str]:
            page = await registry.tag_states(call, repository, limit=_MOST_TAGS)
            return {each.tag for each in (page.tags if page else ()) if each.pushed <= before}

        return await _each(some, one)


async def _found(gate: Gate, url: str, own: _Tags) -> _Tags:
    call = Call(deadline=time.monotonic() + READ_SECONDS)
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for repository, tag in own:
        wanted[repository].add(tag)
    async with gate.registry(url) as registry:

        async def one(repository: str) -> set[str]:
            return wanted[repository] & await _up_to(registry, call, repository, max(wanted[repository]))

        return await _each(list(wanted), one)


async def _up_to(registry: RemoteRegistry, call: Call, repository: str, last: str) -> set[str]:
    """The tags, in the order of which a node lists them, to this one and the rest of its page."""
    found: set[str] = set()
    after = ""
    while True:
        page = await registry.tag_states(call, repository, after=after, limit=_MOST_TAGS)
        found |= {each.tag for each in (page.tags if page else ())}
        if page is None or page.next is None or page.next >= last:
            return found
        after = page.next


async def _each(repositories: Sequence[str], read: Callable[[str], Awaitable[set[str]]]) -> _Tags:
    """A few at once. A repository that is not there has no tags."""
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(repository: str) -> set[tuple[str, str]]:
        async with some:
            try:
                return {(repository, tag) for tag in await read(repository)}
            except NameUnknown:
                return set()

    return frozenset().union(*await asyncio.gather(*(one(each) for each in repositories)))
