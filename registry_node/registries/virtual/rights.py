"""What a caller may do at a member: its grants and its write policy, evaluated here, as it sees the virtual alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from identity.grants import Action, Grant, Principal, WritePolicy, allowed, allowed_for_every_tag, write_action
from oci_wire.errors import Denied
from oci_wire.registry import Call

Grants = Callable[[], tuple[Grant, ...]]


def caller_of(call: Call) -> Principal:
    """Whoever asked this node."""
    return Principal(call.identity, call.groups, call.robot)


@dataclass(frozen=True, slots=True)
class Rights:
    """Of one member. ``grants``: the member's own, or those of this node as they are now."""

    member: str
    grants: Grants
    write: WritePolicy = WritePolicy.OPEN

    def may_pull(self, who: Principal, repository: str, tag: str | None = None) -> bool:
        return allowed(self.grants(), who, Action.PULL, repository, tag)

    def may_pull_any_digest(self, who: Principal, repository: str) -> bool:
        return allowed_for_every_tag(self.grants(), who, Action.PULL, repository)

    def may_pull_everything(self, who: Principal) -> bool:
        return any(
            Action.PULL in each.allow and "**" in each.repositories and each.every_tag and who.is_called(each.to)
            for each in self.grants()
        )

    def require_write(self, who: Principal, repository: str, tag: str | None = None) -> None:
        """Raises Denied."""
        needed = write_action(self.write, who)
        if needed is None:
            reason = "is read-only" if self.write is WritePolicy.READ_ONLY else "takes pushes of robots alone"
            raise Denied(f"{self.member}, where pushes to this registry go, {reason}", why="write-policy")
        if not allowed(self.grants(), who, needed, repository, tag):
            name = f"{repository}:{tag}" if tag else repository
            raise Denied(
                f"pushes to this registry go to {self.member}, and there you may not {needed} {name}",
                why="no-grant" if needed is Action.PUSH else "write-policy",
            )

    def require_delete(self, who: Principal, repository: str, tag: str | None = None) -> None:
        """A digest takes its tags with it: a grant for some tags is not enough for one. Raises Denied."""
        frozen, grants = self.write is WritePolicy.READ_ONLY, self.grants()
        if tag is None:
            granted = allowed_for_every_tag(grants, who, Action.DELETE, repository)
        else:
            granted = allowed(grants, who, Action.DELETE, repository, tag)
        if frozen or not granted:
            raise Denied(
                f"this registry deletes at {self.member}, and there you may not delete what {repository} holds",
                why="write-policy" if frozen else "no-grant",
            )
