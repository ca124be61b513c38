"""From the declared users, groups and grants to the evaluator's Principal and Grant (``identity.grants``)."""

from __future__ import annotations

from identity.grants import Grant, Principal
from topology.model import Promotion, Topology


def groups_of(topology: Topology, user: str) -> frozenset[str]:
    """The groups that list this user. (Groups by OIDC claims are decided when a token is shown.)"""
    return frozenset(name for name, group in topology.groups.items() if user in group.users)


def principal(topology: Topology, user: str, how: str) -> Principal:
    """A declared user as the evaluator sees them; ``how``: password | token. Raises LookupError."""
    declared = topology.users.get(user)
    if declared is None:
        raise LookupError(f"no user {user} is declared")
    return Principal(user, groups_of(topology, user), declared.robot, how)


def users_behind(topology: Topology, name: str) -> frozenset[str]:
    """The users that a user's or a group's name stands for."""
    if name in topology.users:
        return frozenset({name})
    group = topology.groups.get(name)
    return frozenset(group.users) if group else frozenset()


def grants_for(topology: Topology, scope: str, site: str | None = None) -> tuple[Grant, ...]:
    """The grants of a scope that hold at a site (None: at any). Raises LookupError."""
    declared = topology.scopes.get(scope)
    if declared is None:
        raise LookupError(f"no scope {scope} is declared")
    return tuple(
        Grant(grant.to, frozenset(grant.allow), grant.repositories, grant.tags)
        for grant in declared.grants
        if site is None or grant.sites is None or site in grant.sites
    )


def may_ask(edge: Promotion, who: Principal) -> bool:
    """Whether they may ask for this promotion. Nobody may, unless ``by`` names them or a group of theirs."""
    return any(who.is_called(name) for name in edge.by)
