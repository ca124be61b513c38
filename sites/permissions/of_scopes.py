"""Who may do what in a scope, at one of its nodes: by its grants, its write policy, its names and the edges into it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from identity.grants import Action, Grant, WritePolicy, allowed, allowed_for_every_tag, matches, write_action
from sites.permissions.grounds import Asked, Ground, Verdict, listed, no
from sites.settings.fronts import write_policy
from topology.identities import may_ask
from topology.model import ExternalNode, LocalNode, Role, Scope, ScopeGrant, Topology

_POLICIES = {
    WritePolicy.OPEN: "whoever has a push grant may push",
    WritePolicy.ROBOTS: "only robots may push",
    WritePolicy.PROMOTION_ONLY: "images come over an edge",
    WritePolicy.REPLICATION_ONLY: "images come by replication",
    WritePolicy.READ_ONLY: "nobody writes there",
}


def may_in_scope(topology: Topology, node: str, scope: str, asked: Asked) -> Verdict:
    """``promote`` means to ask for a promotion into the scope."""
    if asked.action is Action.PROMOTE:
        return _may_promote(topology, scope, asked)
    declared, needed = topology.scopes[scope], Action(asked.action)
    if needed in (Action.PUSH, Action.DELETE):
        policy = write_policy(topology, node)
        closed = _closed(topology, node, scope, policy)
        if policy is WritePolicy.READ_ONLY:
            return Verdict(False, (closed,))
        if needed is Action.PUSH:
            wanted = write_action(policy, asked.who)
            if wanted is None or (wanted is Action.PROMOTE and not any(_granted(declared, scope, asked, wanted))):
                return Verdict(False, (closed, *_edges_into(topology, scope, asked.repository)))
            if named := _misnamed(declared, scope, asked):
                return Verdict(False, (named,))
            needed = wanted
    if granted := tuple(_granted(declared, scope, asked, needed)):
        return Verdict(True, granted)
    return Verdict(False, tuple(_lacking(declared, scope, asked, needed)))


def _granted(scope: Scope, name: str, asked: Asked, action: Action) -> Iterator[Ground]:
    """The grants that let them."""
    for at, each in enumerate(scope.grants):
        if _holds(each, asked, action):
            member = "" if each.to == asked.who.name else f", which {asked.name} belongs to"
            yield Ground(f"granted to {each.to}{member}: {_told(each)}", ("scopes", name, "grants", at))


def _holds(declared: ScopeGrant, asked: Asked, action: Action) -> bool:
    """A digest takes its tags with it when it is deleted: that needs a grant for all of them."""
    if declared.sites is not None and asked.site not in declared.sites:
        return False
    grants = (Grant(declared.to, frozenset(declared.allow), declared.repositories, declared.tags),)
    if action is Action.DELETE and not asked.tag:
        return allowed_for_every_tag(grants, asked.who, action, asked.repository)
    return allowed(grants, asked.who, action, asked.repository, asked.tag or None)


def _lacking(scope: Scope, name: str, asked: Asked, action: Action) -> Iterator[Ground]:
    """For who is not let in: what theirs are for, and who is."""
    yield Ground(f"no grant of {name} lets {asked.name} {action} {asked.image}", ("scopes", name))
    for at, each in enumerate(scope.grants):
        if action not in each.allow:
            continue
        if asked.who.is_called(each.to):
            yield Ground(f"theirs is for something else: {_told(each)}", ("scopes", name, "grants", at))
        elif matches(asked.repository, each.repositories):
            yield Ground(f"it is granted to {each.to}: {_told(each)}", ("scopes", name, "grants", at))


def _may_promote(topology: Topology, scope: str, asked: Asked) -> Verdict:
    """By an edge that they may ask for; its gates are another question (``towpath why``)."""
    into = tuple(_edges_into(topology, scope, asked.repository))
    if not into:
        return no(f"no edge leads into {scope} for {asked.repository}", ("scopes", scope))
    theirs = tuple(each for each in into if may_ask(topology.promotions[int(each.path[1])], asked.who))
    return Verdict(True, theirs) if theirs else Verdict(False, into)


def _edges_into(topology: Topology, scope: str, repository: str) -> Iterator[Ground]:
    for at, edge in enumerate(topology.promotions):
        if edge.target == scope and matches(repository, edge.repositories):
            asks = f"{listed(edge.by)} may ask for it" if edge.by else "nobody may ask for it"
            yield Ground(f"edge {edge.id} from {edge.source}: {asks}", ("promotions", at))


def _closed(topology: Topology, node: str, scope: str, policy: WritePolicy) -> Ground:
    declared = topology.nodes[node]
    if isinstance(declared, LocalNode) and declared.role is Role.REPLICA and policy is WritePolicy.REPLICATION_ONLY:
        return Ground(f"{node} is a replica: it takes images from its primary alone", ("nodes", node))
    if isinstance(declared, ExternalNode) and not declared.takes_pushes:
        return Ground(f"{node} is only read", ("nodes", node))
    return Ground(f"{scope} is {policy}: {_POLICIES[policy]}", ("scopes", scope, "write"))


def _misnamed(scope: Scope, name: str, asked: Asked) -> Ground | None:
    naming = scope.naming
    for part, pattern, value in (("repository", naming.repository, asked.repository), ("tag", naming.tag, asked.tag)):
        if pattern and value and not re.fullmatch(pattern, value):
            return Ground(f"{name} wants every {part} to be named {pattern}", ("scopes", name, "naming", part))
    return None


def _told(grant: ScopeGrant) -> str:
    """What it is for, as far as it is not everything."""
    told = listed(grant.allow)
    for part, values in (("on", grant.repositories), ("tags", grant.tags), ("at", grant.sites or ("**",))):
        told += "" if values == ("**",) else f" {part} {listed(values)}"
    return told
