"""Registries: local (hosts content), mirror (pull-through cache), virtual (one endpoint over members), external."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from identity.grants import Action
from oci_wire.address_patterns import AddressPattern
from topology.declared import Declared, Owned, SecretRef
from topology.places import Certificate, OwnProxy
from topology.rate_limits import RateLimits
from topology.values import (
    EVERYTHING,
    Count,
    Duration,
    DurationOrNone,
    FilePath,
    Flag,
    Glob,
    Globs,
    HostName,
    NodeName,
    Percent,
    Port,
    Rate,
    ScopeName,
    SiteName,
    Size,
    WebAddress,
    Who,
)

Nodes = Annotated[tuple[NodeName, ...], Field(min_length=1)]
Authority = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$")]  # host or host:port
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")  # what names Docker Hub; the last one answers
HUB_REALM = "auth.docker.io"


class Role(StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"


class Placed(Owned):
    """A node that we run: on a host of a site, at a port. ``protect``: it is not removed from its host, also when it or
    this line has left the topology; writing ``protect: false`` and applying that lifts it. ``proxy``: its
    address where nginx stands in front of its host."""

    site: SiteName
    host: HostName
    port: Port
    tls: Certificate | None = None
    protect: Flag = False
    proxy: OwnProxy | None = None


class LocalNode(Placed):
    """``rateLimits``: in place of all of its scope's."""

    kind: Literal["local"]
    scope: ScopeName
    role: Role = Role.PRIMARY
    rate_limits: RateLimits | None = None


class UpstreamUse(Declared):
    """One upstream of a mirror, and which repositories it is asked for there. A plain name means all of them."""

    node: NodeName
    repositories: Globs = EVERYTHING
    deny: tuple[Glob, ...] = ()


def _use(value: Any) -> Any:
    return {"node": value} if isinstance(value, str) else value


AnyUpstream = Annotated[UpstreamUse, BeforeValidator(_use, json_schema_input_type=NodeName | UpstreamUse)]


def _pattern(text: str) -> str:
    AddressPattern.parse(text)
    return text


class ForeignLayers(Declared):
    """``allow``: Ant-style patterns of addresses from which layers with ``urls`` are fetched."""

    allow: tuple[Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_pattern)], ...] = ()


class MirrorGrant(Declared):
    """A mirror takes no pushes; ``delete`` lets people remove what it has cached."""

    to: Who
    allow: tuple[Literal[Action.PULL, Action.DELETE], ...] = Field(default=(Action.PULL,), min_length=1)
    repositories: Globs = EVERYTHING


def _neighbours(value: Any) -> Any:
    return {"auto": None, "none": ()}.get(value, value) if isinstance(value, str) else value


Neighbours = Annotated[  # None: every local node of the same host
    tuple[NodeName, ...] | None,
    BeforeValidator(_neighbours, json_schema_input_type=Literal["auto", "none"] | list[NodeName]),
]


class MirrorNode(Placed):
    """``grants``: who may pull; default: whoever may pull at every one of its upstreams. ``none`` as a time: not at all."""

    kind: Literal["mirror"]
    upstreams: Annotated[tuple[AnyUpstream, ...], Field(min_length=1)]
    repositories: Globs = EVERYTHING
    deny: tuple[Glob, ...] = ()
    tag_ttl: DurationOrNone | None = None
    negative_ttl: DurationOrNone | None = None
    serve_stale: DurationOrNone | None = None
    keep_deleted: Flag = True
    on_outage: Literal["stop", "next"] = "stop"
    max_bytes: Size | None = None
    answer_within: Duration | None = None
    finish_share: Percent | None = None
    foreign_layers: ForeignLayers = ForeignLayers()
    grants: tuple[MirrorGrant, ...] | None = None
    neighbours: Neighbours = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of its upstreams, in order."""
        return tuple(each.node for each in self.upstreams)


class VirtualNode(Placed):
    """``owns``: which members may answer for a prefix, in order; ``unmatched``: what happens to the other names;
    ``hosts``: other names that its images are called by."""

    kind: Literal["virtual"]
    members: Nodes
    owns: dict[Glob, Nodes] = Field(default_factory=dict)
    unmatched: Literal["deny", "members"] = "deny"
    resolve: Literal["order", "newest"] = "order"
    push_to: NodeName | None = None
    hosts: tuple[Authority, ...] = ()
    answer_within: Duration | None = None


_PART = r"[a-z0-9]+([._-][a-z0-9]+)*"
_NAMESPACE = rf"^{_PART}(/{_PART})*$"
_BASE_PATH = r"^(/[A-Za-z0-9._~-]+)+/?$"


def _plain_path(address: str) -> str:
    path = urlsplit(address).path
    if path and not re.fullmatch(_BASE_PATH, path):
        raise ValueError("has a path that is more than letters, digits, dots and hyphens between slashes")
    return address


RegistryAddress = Annotated[WebAddress, AfterValidator(_plain_path)]


class Budget(Declared):
    """How many manifests it gives in how long."""

    pulls: Count
    per: Duration


class ExternalNode(Owned):
    """Someone else's registry. ``basePath``: for registries below a path (Artifactory's /artifactory/api/docker/KEY).

    ``hosts``: what images of it are called by (``docker.io``): clients and mirrors tell it by them. ``realms``: hosts of
    token services, besides its own, that may see ``auth``. ``officialImages``: names without a slash lie below
    ``library/``, as on Docker Hub.
    ``private``: its host name may lead to private addresses; without it mirrors and virtuals do not connect to such."""

    kind: Literal["external"]
    url: RegistryAddress
    scope: ScopeName | None = None
    role: Role = Role.PRIMARY
    namespace: str | None = Field(default=None, pattern=_NAMESPACE)
    base_path: str | None = Field(default=None, pattern=_BASE_PATH)
    auth: SecretRef | None = None
    ca: FilePath | None = None
    hosts: tuple[Authority, ...] | None = None
    realms: tuple[Authority, ...] = ()
    official_images: Flag | None = None
    budget: Budget | None = None
    connections: Annotated[Count, Field(le=256)] | None = None
    bandwidth: Rate | None = None
    private: Flag = False
    pull_only: Flag = False

    @property
    def takes_pushes(self) -> bool:
        """An external registry that is no part of a scope is only ever read."""
        return self.scope is not None and not self.pull_only

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``."""
        return urlsplit(self.url).netloc

    @property
    def docker_hub(self) -> bool:
        return self.authority in HUB and not self.base_path

    @property
    def called(self) -> tuple[str, ...]:
        """What images of it are called by: as declared, else by its address. Below a path or a namespace it is only a
        part of what its host name means, so then none."""
        if self.hosts is not None:
            return self.hosts
        if self.namespace or self.base_path or urlsplit(self.url).path:
            return ()
        return HUB if self.docker_hub else (self.authority,)

    @property
    def below_library(self) -> bool:
        return self.docker_hub and not self.namespace if self.official_images is None else self.official_images

    @property
    def token_realms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.realms, *((HUB_REALM,) if self.docker_hub else ()))))


Node = LocalNode | MirrorNode | VirtualNode | ExternalNode
AnyNode = Annotated[Node, Field(discriminator="kind")]
