"""Registries: local (hosts content), mirror (pull-through cache), virtual (one endpoint over members), external."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from topology.declared import Declared, Owned, SecretRef
from topology.places import Certificate
from topology.rate_limits import RateLimits
from topology.values import (
    EVERYTHING,
    Count,
    Duration,
    Flag,
    Glob,
    Globs,
    HostName,
    NodeName,
    Port,
    ScopeName,
    SiteName,
    Size,
    WebAddress,
)

Nodes = Annotated[tuple[NodeName, ...], Field(min_length=1)]


class Role(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"


class Placed(Owned):
    """A node that we run: on a host of a site, at a port."""

    site: SiteName
    host: HostName
    port: Port
    tls: Certificate | None = None


class LocalNode(Placed):
    """``rateLimits``: in place of all of its scope's."""

    kind: Literal["local"]
    scope: ScopeName
    role: Role = Role.PRIMARY
    rate_limits: RateLimits | None = None


class MirrorNode(Placed):
    kind: Literal["mirror"]
    upstreams: Nodes
    repositories: Globs = EVERYTHING
    tag_ttl: Duration | None = None
    negative_ttl: Duration | None = None
    serve_stale: Duration | None = None
    max_bytes: Size | None = None


class VirtualNode(Placed):
    """``owns``: which members may answer for a prefix, in order; ``unmatched``: what happens to the other names."""

    kind: Literal["virtual"]
    members: Nodes
    owns: dict[Glob, Nodes] = Field(default_factory=dict)
    unmatched: Literal["deny", "members"] = "members"
    push_to: NodeName | None = None


class Budget(Declared):
    pulls: Count
    per: Duration


class ExternalNode(Owned):
    """Someone else's registry. ``basePath``: for registries below a path (Artifactory's /artifactory/api/docker/KEY)."""

    kind: Literal["external"]
    url: WebAddress
    scope: ScopeName | None = None
    role: Role = Role.PRIMARY
    namespace: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._/-]*$")
    base_path: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9._~/-]*$")
    auth: SecretRef | None = None
    budget: Budget | None = None
    pull_only: Flag = False

    @property
    def takes_pushes(self) -> bool:
        """An external registry that is no part of a scope is only ever read."""
        return self.scope is not None and not self.pull_only


Node = LocalNode | MirrorNode | VirtualNode | ExternalNode
AnyNode = Annotated[Node, Field(discriminator="kind")]
