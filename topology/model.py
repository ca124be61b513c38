"""The topology: one frozen tree of declarations. ``from topology.model import Topology, Scope, ...`` works for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from topology.declared import Declared as Declared
from topology.declared import Owned as Owned
from topology.declared import SecretRef as SecretRef
from topology.edges import Backup as Backup
from topology.edges import Freeze as Freeze
from topology.edges import Promotion as Promotion
from topology.edges import Replication as Replication
from topology.edges import TagFilter as TagFilter
from topology.firewalls import Firewall as Firewall
from topology.gates import AnyGate, AnyTrust
from topology.gates import ApprovalGate as ApprovalGate
from topology.gates import AttestationGate as AttestationGate
from topology.gates import Gate as Gate
from topology.gates import KeylessTrust as KeylessTrust
from topology.gates import KeyTrust as KeyTrust
from topology.gates import SignatureGate as SignatureGate
from topology.gates import SoakGate as SoakGate
from topology.gates import Trust as Trust
from topology.gates import VulnerabilityGate as VulnerabilityGate
from topology.nodes import AnyNode
from topology.nodes import ExternalNode as ExternalNode
from topology.nodes import LocalNode as LocalNode
from topology.nodes import MirrorGrant as MirrorGrant
from topology.nodes import MirrorNode as MirrorNode
from topology.nodes import Node as Node
from topology.nodes import Placed as Placed
from topology.nodes import Role as Role
from topology.nodes import UpstreamUse as UpstreamUse
from topology.nodes import VirtualNode as VirtualNode
from topology.people import ClaimRule as ClaimRule
from topology.people import Group as Group
from topology.people import Issuer as Issuer
from topology.people import ScopeGrant as ScopeGrant
from topology.people import User as User
from topology.places import Host as Host
from topology.places import Site as Site
from topology.places import Tls as Tls
from topology.rate_limits import RateLimit as RateLimit
from topology.rate_limits import RateLimits as RateLimits
from topology.scopes import Cleanup as Cleanup
from topology.scopes import KeepRule as KeepRule
from topology.scopes import Naming as Naming
from topology.scopes import Quota as Quota
from topology.scopes import Scope as Scope
from topology.scopes import ScopeClass as ScopeClass
from topology.scopes import Sla as Sla
from topology.values import Name


class Metadata(Owned):
    name: Name


class Topology(Declared):
    """The whole truth: which registries exist, for whom, where, with what promises, and how an image may move."""

    api_version: Literal["towpath/v1"]
    kind: Literal["Topology"]
    metadata: Metadata
    sites: dict[Name, Site] = Field(default_factory=dict)
    users: dict[Name, User] = Field(default_factory=dict)
    issuers: dict[Name, Issuer] = Field(default_factory=dict)
    groups: dict[Name, Group] = Field(default_factory=dict)
    tls: Tls | None = None
    slas: dict[Name, Sla] = Field(default_factory=dict)
    scopes: dict[Name, Scope] = Field(default_factory=dict)
    nodes: dict[Name, AnyNode] = Field(default_factory=dict)
    trust: dict[Name, AnyTrust] = Field(default_factory=dict)
    gates: dict[Name, AnyGate] = Field(default_factory=dict)
    freezes: tuple[Freeze, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    replications: tuple[Replication, ...] = ()
    backups: tuple[Backup, ...] = ()

    _base: Path = PrivateAttr(default=Path())
    _members: dict[str, list[tuple[str, LocalNode | ExternalNode]]] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any) -> None:
        for name, node in self.nodes.items():
            if isinstance(node, LocalNode | ExternalNode) and node.scope:
                self._members.setdefault(node.scope, []).append((name, node))
        if isinstance(context, dict):
            self._base = Path(context.get("base", "."))

    @property
    def base(self) -> Path:
        """The folder of the topology file: relative files are found from here."""
        return self._base

    def edge(self, id: str) -> Promotion | None:
        return next((edge for edge in self.promotions if edge.id == id), None)

    def edges_between(self, source: str, target: str) -> tuple[Promotion, ...]:
        return tuple(edge for edge in self.promotions if (edge.source, edge.target) == (source, target))

    def replication(self, id: str) -> Replication | None:
        return next((each for each in self.replications if each.id == id), None)

    def host_of(self, node: Node | Placed | None) -> Host | None:
        """Where a node of ours stands; None: it is somebody else's, or its site or host is not declared."""
        site = self.sites.get(node.site) if isinstance(node, Placed) else None
        return site.hosts.get(node.host) if site and isinstance(node, Placed) else None

    def members_of(self, scope: str) -> Iterator[tuple[str, LocalNode | ExternalNode]]:
        """The nodes that hold a scope's images, with their names, in the order of the file."""
        return iter(self._members.get(scope, ()))

    def primary_name(self, scope: str) -> str:
        """The name of the scope's primary node. Raises LookupError (rule G7 sees to it that there is one)."""
        for name, node in self.members_of(scope):
            if node.role is Role.PRIMARY:
                return name
        raise LookupError(f"scope {scope} has no primary node")

    def primary_of(self, scope: str) -> LocalNode | ExternalNode:
        """Raises LookupError."""
        node = self.nodes[self.primary_name(scope)]
        assert isinstance(node, LocalNode | ExternalNode)
        return node

    def replicas_of(self, scope: str) -> tuple[str, ...]:
        return tuple(name for name, node in self.members_of(scope) if node.role is Role.REPLICA)
