"""The grants of a node and its write policy: what they let a principal do, and what a token may be issued for."""

from __future__ import annotations

from dataclasses import dataclass

from identity.grants import Action, Grant, Principal, WritePolicy, allowed, allowed_for_every_tag, write_action
from oci_wire.auth import TokenScope
from registry_node.settings import NodeSettings

ALL_BLOBS = "blobs"  # ``registry:blobs:pull``, a token scope of ours: to mount without naming a source


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants of a node and who may write at all. ``challenges``: whether there is anybody who could sign in."""

    scope: str
    grants: tuple[Grant, ...]
    write: WritePolicy
    challenges: bool
    no_pushes: str = ""  # why nobody pushes here, whatever the grants say (a mirror)

    @classmethod
    def of(cls, settings: NodeSettings) -> Policy:
        return cls(
            settings.scope,
            tuple(each.grant() for each in settings.grants),
            settings.rules.write,
            bool(settings.users),
            settings.mirror.no_pushes(settings.node) if settings.mirror is not None else "",
        )

    def may(self, who: Principal, action: Action, repository: str, tag: str | None = None) -> bool:
        return allowed(self.grants, who, action, repository, tag)

    def may_whole(self, who: Principal, action: Action, repository: str) -> bool:
        """Whatever tags it has."""
        return allowed_for_every_tag(self.grants, who, action, repository)

    def may_write(self, who: Principal, repository: str, tag: str | None = None) -> bool:
        needed = write_action(self.write, who)
        return needed is not None and self.may(who, needed, repository, tag)

    def may_pull_everything(self, who: Principal) -> bool:
        """Whether one grant is to pull every repository, whatever it is called."""
        return any(
            Action.PULL in each.allow and "**" in each.repositories and each.every_tag and who.is_called(each.to)
            for each in self.grants
        )

    def granted(self, who: Principal, wanted: TokenScope) -> TokenScope:
        """The part of a token scope that this caller has (intersection; ``*`` asks for all of it)."""
        if wanted.kind != "repository":
            listing = wanted.name == "catalog" and not who.anonymous
            mounting = wanted.name == ALL_BLOBS and self.may_pull_everything(who)
            return TokenScope(wanted.kind, wanted.name, frozenset({"*"} if listing else {"pull"} if mounting else ()))
        name = wanted.name
        has = {
            "pull": self.may(who, Action.PULL, name),
            "push": self.may_write(who, name),
            "delete": self.may(who, Action.DELETE, name),
            "promote": self.may(who, Action.PROMOTE, name),
        }
        asked = set(has) if "*" in wanted.actions else wanted.actions
        return TokenScope(wanted.kind, name, frozenset(action for action in asked if has.get(action)))
