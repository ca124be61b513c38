"""Who may do what at a node, of whatever kind: what the scope says, what a mirror or virtual lets through, and the
robots by which our own nodes read each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from identity.grants import ANYBODY, AUTHENTICATED, Action
from registry_node.settings import GrantSettings
from sites.settings.credentials import ENGINE, robot_of
from topology.globs import covers, overlap
from topology.model import ExternalNode, LocalNode, MirrorNode, ScopeGrant, Topology, VirtualNode

Grants = tuple[GrantSettings, ...]
ENGINE_PULLS = GrantSettings(to=ENGINE, allow=(Action.PULL,))


def sources_of(topology: Topology, node: str) -> tuple[str, ...]:
    """The nodes that a mirror or virtual asks, in order; of other nodes none."""
    match topology.nodes[node]:
        case MirrorNode() as mirror:
            return mirror.sources
        case VirtualNode() as virtual:
            return virtual.members
    return ()


def readers_of(topology: Topology, node: str) -> tuple[str, ...]:
    """The mirrors and virtuals that ask this node."""
    return tuple(name for name in topology.nodes if node in sources_of(topology, name))


def node_grants(topology: Topology, node: str) -> Grants:
    """What stands in the node's settings: its own grants, those of the robots that read it, the engine's."""
    declared = topology.nodes[node]
    if isinstance(declared, VirtualNode):
        own: Grants = tuple(
            dict.fromkeys(grant for each in declared.members for grant in grants_at(topology, each, declared.site))
        )
    else:
        own = grants_at(topology, node, getattr(declared, "site", None))
    engine = GrantSettings(to=ENGINE, allow=tuple(Action)) if isinstance(declared, LocalNode) else ENGINE_PULLS
    return (*own, *robot_grants(topology, node), engine)


def robot_grants(topology: Topology, node: str) -> Grants:
    """Of those that read it: pull; and where a virtual pushes, what the scope lets anybody do of push and delete. Never
    promote: a promotion-only scope is closed to a virtual as it is to everybody."""
    found = []
    for front in readers_of(topology, node):
        declared = topology.nodes[front]
        allow = [Action.PULL]
        if isinstance(declared, VirtualNode) and declared.push_to == node:
            given = {action for each in grants_at(topology, node, declared.site) for action in each.allow}
            allow += [each for each in (Action.PUSH, Action.DELETE) if each in given]
        found.append(GrantSettings(to=robot_of(front), allow=tuple(allow)))
    return tuple(found)


def grants_at(topology: Topology, node: str, site: str | None, within: frozenset[str] = frozenset()) -> Grants:
    """The grants of which a caller needs one to get at what this node holds or lets through, asked from ``site``."""
    declared = topology.nodes[node]
    if node in within:  # a cycle (rule G9 refuses it) lets nobody in
        return ()
    match declared:
        case MirrorNode():
            if declared.grants is not None:
                return tuple(
                    GrantSettings(to=each.to, allow=each.allow, repositories=each.repositories)
                    for each in declared.grants
                )
            asked = (grants_at(topology, each, declared.site, within | {node}) for each in declared.sources)
            return _of_all(asked)
        case VirtualNode():
            return (*_through(topology, declared, within | {node}), *_pushes(topology, declared, within | {node}))
        case ExternalNode() if declared.scope is None:
            return (GrantSettings(to=AUTHENTICATED if declared.auth else ANYBODY, allow=(Action.PULL,)),)
    held = topology.scopes[declared.scope or ""].grants
    at = declared.site if isinstance(declared, LocalNode) else site
    return tuple(_settings(each) for each in held if each.sites is None or at in each.sites)


def _settings(grant: ScopeGrant) -> GrantSettings:
    return GrantSettings(to=grant.to, allow=grant.allow, repositories=grant.repositories, tags=grant.tags)


def _through(topology: Topology, virtual: VirtualNode, within: frozenset[str]) -> Iterator[GrantSettings]:
    """Pull, for those alone who may pull at each member that could answer: another node cannot see which one it was."""
    asked: list[tuple[str, tuple[str, ...]]] = list(virtual.owns.items())
    if virtual.unmatched == "members":
        asked.append(("**", virtual.members))
    for at, (glob, owners) in enumerate(asked):
        before = (each for earlier, each in asked[:at] if overlap(earlier, glob))
        answering = dict.fromkeys((*owners, *(name for names in before for name in names)))
        owned = (GrantSettings(to=ANYBODY, allow=(Action.PULL,), repositories=(glob,)),)
        yield from _of_all((owned, *(grants_at(topology, each, virtual.site, within) for each in answering)))


def _pushes(topology: Topology, virtual: VirtualNode, within: frozenset[str]) -> Iterator[GrantSettings]:
    for each in grants_at(topology, virtual.push_to, virtual.site, within) if virtual.push_to else ():
        if writes := tuple(action for action in each.allow if action in (Action.PUSH, Action.DELETE)):
            yield each.model_copy(update={"allow": writes})


def _of_all(asked: Iterable[Grants]) -> Grants:
    """What all of them let everyone pull who has one of these."""
    shared: Grants | None = None
    for grants in asked:
        pulls = tuple(each.model_copy(update={"allow": (Action.PULL,)}) for each in grants if Action.PULL in each.allow)
        if shared is None:
            shared = pulls
        else:
            shared = tuple(dict.fromkeys(met for one, other in product(shared, pulls) for met in _meet(one, other)))
    return shared or ()


def _meet(one: GrantSettings, other: GrantSettings) -> Iterator[GrantSettings]:
    """The grant that lets in whom and what both do, when one can say so; else none."""
    who = _narrower(one.to, other.to)
    repositories, tags = _globs(one.repositories, other.repositories), _globs(one.tags, other.tags)
    if who and repositories and tags:
        yield GrantSettings(to=who, allow=(Action.PULL,), repositories=repositories, tags=tags)


def _narrower(one: str, other: str) -> str | None:
    for wide in (ANYBODY, AUTHENTICATED):
        if one == wide:
            return other
        if other == wide:
            return one
    return one if one == other else None


def _globs(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    narrow = (b if covers(a, b) else a if covers(b, a) else None for a, b in product(one, other))
    return tuple(dict.fromkeys(each for each in narrow if each is not None))
