"""The one evaluator of grants: default deny, a grant adds, nothing subtracts.

A write policy decides which *action* a write needs: in a promotion-only scope a push needs ``promote``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache


class Action(StrEnum):
    """``annotate`` is for custom properties of an image, which are not built yet: today it lets nobody do anything. A
    signature or an SBOM is content, and needs push (or promote)."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    ANNOTATE = "annotate"
    PROMOTE = "promote"


class WritePolicy(StrEnum):
    """Who may write in a scope at all; grants narrow it further."""

    OPEN = "open"  # whoever has a push grant
    ROBOTS = "robots"  # robots that have a push grant
    PROMOTION_ONLY = "promotion-only"  # the promotion engine, over an edge
    REPLICATION_ONLY = "replication-only"  # the promotion engine, replicating
    READ_ONLY = "read-only"  # nobody


ANYBODY = "everyone"  # also without credentials
AUTHENTICATED = "authenticated"  # whoever has proven who they are


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. ``name`` "" is anonymous."""

    name: str = ""
    groups: frozenset[str] = frozenset()
    robot: bool = False
    how: str = "anonymous"  # how they proved it: password | token | bearer | anonymous

    @property
    def anonymous(self) -> bool:
        return not self.name

    def is_called(self, subject: str) -> bool:
        """Whether a grant to this subject (a user, a robot, a group, everyone, authenticated) is a grant to them."""
        if subject == ANYBODY:
            return True
        if self.anonymous:
            return False
        return subject in (AUTHENTICATED, self.name) or subject in self.groups


ANONYMOUS = Principal()


@dataclass(frozen=True, slots=True)
class Grant:
    """``to`` may do ``allow`` on repositories and tags that match these globs (``**`` crosses ``/``).

    A pull grant for some tags is for what those tags reach: the manifest, the manifests of an index, config and
    layers, and what refers to one of these. It shows no other tag, and no digest that only other tags reach. The names
    of the repositories are not hidden from its holder. Whoever may also push into such a repository can set a tag of
    their own on a digest that they know of: what one team must not read of another's belongs in another repository."""

    to: str
    allow: frozenset[Action]
    repositories: tuple[str, ...] = ("**",)
    tags: tuple[str, ...] = ("**",)
    every_tag: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "every_tag", not {"*", "**"}.isdisjoint(self.tags))


@lru_cache(maxsize=65536)
def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether the whole name matches one of the globs. A name prefix is never enough."""
    from wcmatch import glob  # noqa: PLC0415 - when the first grant is looked at: nobody waits for it at a node's start

    return glob.globmatch(name, list(patterns), flags=glob.GLOBSTAR | glob.DOTGLOB)


def allowed(grants: Iterable[Grant], who: Principal, action: Action, repository: str, tag: str | None = None) -> bool:
    """Whether one of the grants lets them. ``tag`` None: no tag is touched."""
    return any(
        action in grant.allow
        and who.is_called(grant.to)
        and matches(repository, grant.repositories)
        and (tag is None or matches(tag, grant.tags))
        for grant in grants
    )


def allowed_for_every_tag(grants: Iterable[Grant], who: Principal, action: Action, repository: str) -> bool:
    """Whether one of the grants lets them whatever tag names it: what a digest needs that no tag is asked about."""
    return any(
        grant.every_tag
        and action in grant.allow
        and who.is_called(grant.to)
        and matches(repository, grant.repositories)
        for grant in grants
    )


def write_action(policy: WritePolicy, who: Principal) -> Action | None:
    """The action that a write needs from this caller under this policy; None: nobody may."""
    match policy:
        case WritePolicy.OPEN:
            return Action.PUSH
        case WritePolicy.ROBOTS:
            return Action.PUSH if who.robot else None
        case WritePolicy.PROMOTION_ONLY | WritePolicy.REPLICATION_ONLY:
            return Action.PROMOTE
        case WritePolicy.READ_ONLY:
            return None
