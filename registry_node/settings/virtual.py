"""A virtual registry: its members in order, who owns which names, and where a push goes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from identity.grants import WritePolicy
from registry_node.settings.mirror import Remote
from registry_node.settings.people import GrantSettings
from registry_node.settings.shape import Name, Strict


class Member(Remote):
    """One of the registries behind a virtual."""

    kind: Literal["local", "mirror", "virtual", "remote"] = Field(description="What it is; remote: not one of ours.")
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Values of `?ns=` (containerd) that mean this member, such as docker.io for a mirror of it.",
    )
    data: Path | None = Field(
        default=None,
        description="A local member's data folder, when it is on this host: read at once, without its process.",
    )
    grants: tuple[GrantSettings, ...] | None = Field(
        default=None, description="The member's own grants, which the caller must have; none: those of this node."
    )
    write: WritePolicy = Field(default=WritePolicy.OPEN, description="The member's own write policy.")


class Owner(Strict):
    """Names that these members alone answer for, also when they are down or do not have them."""

    repositories: str = Field(description="A glob of repository names.")
    members: tuple[Name, ...] = Field(min_length=1, description="Its owners, in the order in which they are asked.")


class Virtual(Strict):
    """One endpoint over ordered members."""

    members: tuple[Member, ...] = Field(min_length=1, description="In the order in which they are asked.")
    owns: tuple[Owner, ...] = Field(
        default=(), description="Who owns which names; where several globs match, the first one holds."
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Values of `?ns=` that mean this virtual itself: other names that its images are called by.",
    )
    unmatched: Literal["deny", "members"] = Field(
        default="deny", description="Names that nobody owns: not there, or asked of all members."
    )
    resolve: Literal["order", "newest"] = Field(
        default="order",
        description="Which member's tag holds: the first one's that has it, or the one last set among local members, then "
        "the others in order.",
    )
    push_to: Name | None = Field(default=None, description="The member that takes pushes; none: nobody can push here.")
    answer_seconds: float = Field(default=10.0, gt=0, description="How long a member's first byte is waited for.")

    @model_validator(mode="after")
    def _names_mean_members(self) -> Self:
        names = [each.name for each in self.members]
        if len(set(names)) < len(names):
            raise ValueError("two members have one name")
        named = {each for owner in self.owns for each in owner.members} | ({self.push_to} if self.push_to else set())
        if unknown := named - set(names):
            raise ValueError(f"{', '.join(sorted(unknown))} is no member; members: {', '.join(names)}")
        if any(each.name == self.push_to and each.kind == "mirror" for each in self.members):
            raise ValueError(f"push_to: {self.push_to} is a mirror, and nobody pushes to one; name a local member")
        return self
