"""A caching mirror: where it asks, whom as, for what, and how long it believes the answers."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from oci_wire.address_patterns import AddressPattern
from registry_node.settings.people import GrantSettings
from registry_node.settings.shape import Name, Strict

DAY = 24 * 3600


def _checked_url(url: str) -> str:
    """An http(s) address of host and port alone, without credentials."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("an address looks like https://host:port; what comes behind it belongs in base_path")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("credentials never stand in an address: name a file or a variable under credentials")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("plain http beyond loopback shows every image and secret to the network: use https")
    return url.rstrip("/")


def _checked_proxy(said: str) -> str:
    """``environment``, ``none``, or an http address without credentials."""
    if said in ("environment", "none"):
        return said
    parts = urlsplit(said)
    if parts.scheme == "https":
        raise ValueError(
            "TLS to a proxy itself is not spoken: say http://host:port; TLS to the registry goes through it all the same"
        )
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("a proxy is `environment`, `none`, or an address like http://proxy.example:3128")
    if parts.username is not None:
        raise ValueError(
            "credentials never stand in an address: say `environment`, and put them into HTTPS_PROXY of the node"
        )
    return said.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Url = Annotated[str, AfterValidator(_checked_url)]


def _checked_pattern(text: str) -> str:
    AddressPattern.parse(text)
    return text


AddressGlob = Annotated[str, AfterValidator(_checked_pattern)]


class Secret(Strict):
    """Where ``user:password`` is to be found: never here."""

    file: Path | None = Field(default=None, description="A file that holds `user:password`.")
    env: str | None = Field(default=None, min_length=1, description="The environment variable that holds it.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("credentials stand either in a file or in a variable (env)")
        return self


class Remote(Strict):
    """A registry that this node asks over HTTP."""

    name: Name = Field(description="Its name, in answers, logs and figures.")
    url: Url = Field(description="`https://host:port`; plain http only on loopback.")
    base_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="What stands before `/v2/` there (Artifactory: /artifactory/api/docker/KEY).",
    )
    namespace: str = Field(
        default="",
        pattern=r"^([a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+([._-][a-z0-9]+)*)*)?$",
        description="Stands before every repository name there.",
    )
    credentials: Secret | None = Field(default=None, description="As whom it asks; never sent to another origin.")
    realms: tuple[str, ...] = Field(
        default=(), description="Hosts of token services, besides its own, that may see those credentials."
    )
    private: bool = Field(
        default=False,
        description="Its host name may lead to private addresses (10.0.0.0/8 and such). Without it a name that does is "
        "not connected to, however it came to; an address in `url` itself always may be.",
    )
    ca: Path | None = Field(
        default=None, description="PEM file of the authority of its certificate, when it is private."
    )
    proxy: Annotated[str, AfterValidator(_checked_proxy)] = Field(
        default="environment",
        description="Through which HTTP proxy it is asked: `http://host:port`, `none`, or as HTTPS_PROXY and NO_PROXY of "
        "the node's process say (`environment`). The proxy looks names up itself: those that this node can look up too "
        "are held to `private` all the same, the others are the proxy's to refuse.",
    )


class Budget(Strict):
    """How many manifests an upstream gives in how long (Docker Hub: 100 or 200 in 6 hours)."""

    pulls: int = Field(ge=1, description="Manifests.")
    seconds: int = Field(ge=1, description="In so many seconds.")


class Upstream(Remote):
    """One of the registries behind a mirror."""

    repositories: tuple[str, ...] = Field(default=("**",), description="Globs of the repositories it is asked for.")
    deny: tuple[str, ...] = Field(default=(), description="Globs of repositories it is never asked for.")
    hosts: tuple[str, ...] = Field(
        default=(), description="Values of `?ns=` (containerd) that mean this upstream, such as docker.io."
    )
    front: bool = Field(
        default=False,
        description="It is a mirror or virtual of ours that may stand for several registries: it is told which one is "
        "meant (`?ns=`).",
    )
    official_images: bool = Field(
        default=False, description="Docker Hub's habit: a name without a slash lies below `library/` there."
    )
    budget: Budget | None = Field(default=None, description="What it gives; kept for what is not cached.")
    connections: int = Field(default=16, ge=1, le=256, description="Connections to it at once.")
    bytes_per_second: int | None = Field(default=None, ge=1, description="Most bytes a second taken from it.")


class Neighbour(Strict):
    """Another node of this host, whose content this one may read from its folder."""

    name: Name = Field(description="That node's name.")
    data: Path = Field(description="That node's data folder.")
    grants: tuple[GrantSettings, ...] = Field(default=(), description="Its grants: whoever may pull there.")


class Mirror(Strict):
    """A pull-through cache. A person cannot push to it."""

    upstreams: tuple[Upstream, ...] = Field(min_length=1, description="In the order in which they are asked.")
    repositories: tuple[str, ...] = Field(default=("**",), description="Globs of the repositories that it mirrors.")
    deny: tuple[str, ...] = Field(default=(), description="Globs of repositories that it does not.")
    tag_seconds: float = Field(default=3600, ge=0, description="How long a tag is believed before a HEAD asks again.")
    negative_seconds: float = Field(default=60, ge=0, description="How long `not there` is believed.")
    stale_seconds: float = Field(
        default=7 * DAY,
        ge=0,
        description="How long after its last check a tag is still served when the upstream is down, slow, refuses (429, "
        "5xx) or has deleted it. 0: never.",
    )
    keep_deleted: bool = Field(
        default=True, description="Whether `stale_seconds` also holds for tags that the upstream has deleted."
    )
    on_outage: Literal["stop", "next"] = Field(
        default="stop",
        description="When an upstream cannot answer for a tag: stop, or ask the next one. A digest is always asked of the "
        "next one: its bytes prove themselves.",
    )
    max_bytes: int | None = Field(
        default=None, ge=1, description="Most bytes of cached content; the least recently used goes first."
    )
    answer_seconds: float = Field(
        default=10.0, gt=0, description="How long an upstream's first byte is waited for; then it counts as down."
    )
    finish_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="When all clients of a fill have left, it goes on if this share has come. 1: it always stops.",
    )
    foreign_layers: tuple[AddressGlob, ...] = Field(
        default=(),
        description="Ant-style patterns of addresses from which layers with `urls` are fetched, such as "
        "https://**.example.com/layers/**; scheme, host and path are matched separately. None: not at all. Names that "
        "lead to private addresses are not connected to, whatever is allowed.",
    )
    neighbours: tuple[Neighbour, ...] = Field(
        default=(),
        description="Nodes of this host whose copies are read before an upstream is asked: of blobs that a cached manifest "
        "names, by callers who may pull them there.",
    )

    def no_pushes(self, node: str) -> str:
        """Why nobody pushes to this mirror, and where to push instead."""
        where = ", ".join(f"{each.name} ({each.url}{each.base_path})" for each in self.upstreams)
        return (
            f"{node} is a mirror: it holds copies of what {where} has. Push there; it is fetched when somebody pulls it"
        )

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        names = [each.name for each in self.upstreams]
        if len(set(names)) < len(names):
            raise ValueError("two upstreams have one name")
        return self
