"""The whole file: one declared node."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from identity.grants import ANYBODY, AUTHENTICATED
from registry_node.forwarded import ProxyHeaders
from registry_node.settings.content import Index, Limits, Rules
from registry_node.settings.mirror import Mirror
from registry_node.settings.people import GrantSettings, RateLimits, Tokens, User
from registry_node.settings.shape import Name, Strict
from registry_node.settings.virtual import Virtual

CHANGEABLE = frozenset(("users", "grants", "rate_limits"))  # while the node runs; every other field needs a restart


class Listen(Strict):
    """Where the node answers. Port 0 takes a free one (tests)."""

    host: str = Field(default="127.0.0.1", description="Address or host name to listen on.")
    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one.")

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Tls(Strict):
    """The node's own certificate. Both files are watched: a new pair is taken without a restart."""

    certificate: Path = Field(description="PEM file: the node's certificate, then what its issuer adds (the chain).")
    key: Path = Field(description="PEM file: the private key, without a passphrase, for its owner alone (mode 0600).")


class NodeSettings(Strict):
    """One declared node."""

    node: Name = Field(description="The node's name; also the service that its tokens are for.")
    scope: Name = Field(description="The scope whose content it holds; a mirror's or virtual's is its own name.")
    site: Name = Field(default="local", description="The site that it stands in.")
    kind: Literal["local", "mirror", "virtual"] = Field(
        default="local",
        description="What it does: host content of its own, cache that of others, or put others together.",
    )
    mirror: Mirror | None = Field(
        default=None, description="Of a mirror: its upstreams and how long they are believed."
    )
    virtual: Virtual | None = Field(default=None, description="Of a virtual: its members.")
    listen: Listen = Field(description="Where it answers.")
    data: Path = Field(description="The node's own folder: blobs, uploads, index, journal, keys.")
    users: dict[Name, User] = Field(default_factory=dict, description="Who may sign in, by name.")
    grants: tuple[GrantSettings, ...] = Field(default=(), description="Who may do what; nothing else is allowed.")
    rules: Rules = Field(default=Rules.model_construct(), description="What a write must satisfy.")
    tokens: Tokens = Field(default=Tokens.model_construct(), description="The bearer tokens that it issues.")
    rate_limits: RateLimits = Field(
        default=RateLimits.model_construct(), description="How much each caller may ask; off by default."
    )
    limits: Limits = Field(default=Limits.model_construct(), description="Sizes, times and numbers.")
    tls: Tls | None = Field(default=None, description="Certificate and key; without them it speaks plain HTTP.")
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = Field(
        default=(),
        description="Addresses (CIDR) of the proxies in front, whose word on client, scheme and host is believed.",
    )
    proxy_headers: ProxyHeaders = Field(
        default="x-forwarded",
        description="What those proxies set: x-forwarded (X-Forwarded-For, -Proto, -Host, -Prefix, -Namespace) or forwarded "
        "(RFC 7239).",
    )
    index: Index = Field(default=Index.model_construct(), description="Where its index lies.")
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Worker processes on the one listening socket, over the one data folder. A dead one is replaced. "
        "More than one pays on machines with many cores.",
    )

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        """A node with nothing declared answers on loopback alone."""
        if not self.grants and not self.listen.loopback:
            raise ValueError(f"no grants are declared: listening on {self.listen.host} beyond loopback is refused")
        return self

    @model_validator(mode="after")
    def _what_its_kind_needs(self) -> Self:
        for kind, given in (("mirror", self.mirror), ("virtual", self.virtual)):
            if (given is not None) != (self.kind == kind):
                raise ValueError(f"a node of kind {self.kind} {'needs' if given is None else 'has no'} `{kind}`")
        if self.kind != "local" and self.processes > 1:
            raise ValueError(f"a {self.kind} runs in one process: its fetches are shared there")
        return self

    @model_validator(mode="after")
    def _one_meaning_a_name(self) -> Self:
        """A grant is to a name: were a group called as a user is, the grant of one would be the other's as well."""
        groups = {group for user in self.users.values() for group in user.groups}
        if twice := groups & set(self.users):
            raise ValueError(f"both a user and a group are called {', '.join(sorted(twice))}; rename one of them")
        if reserved := (groups | set(self.users)) & {ANYBODY, AUTHENTICATED}:
            raise ValueError(f"{', '.join(sorted(reserved))} means a set of callers; call the user or group otherwise")
        return self


def unchangeable(old: NodeSettings, new: NodeSettings) -> tuple[str, ...]:
    """The fields that differ and that a running node cannot change (reload.py): they need a restart."""
    return tuple(
        name
        for name in NodeSettings.model_fields
        if name not in CHANGEABLE and getattr(old, name) != getattr(new, name)
    )
