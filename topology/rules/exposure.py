"""What is open that should not be: S2, S8, S11; and what may vanish: D8."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from identity.grants import ANYBODY, AUTHENTICATED, Action
from topology.findings import Breach
from topology.identities import users_behind
from topology.model import ExternalNode, Placed, Scope, ScopeClass, ScopeGrant, Topology, VirtualNode
from topology.rules.subject import Subject

_WIDE = frozenset({ANYBODY, AUTHENTICATED})


def open_virtual(subject: Subject) -> Iterator[Breach]:
    """S2."""
    for name, node in subject.topology.nodes.items():
        if isinstance(node, VirtualNode) and node.unmatched != "deny":
            message = f"virtual `{name}` asks every member for a name that nobody owns"
            yield Breach(
                ("nodes", name, "unmatched"), message, "add `unmatched: deny` and say who `owns` what", at_key=True
            )


def plain_http(subject: Subject) -> Iterator[Breach]:
    """S8."""
    for name, node in subject.topology.nodes.items():
        if isinstance(node, ExternalNode) and _plain_beyond_loopback(node.url):
            yield Breach(("nodes", name, "url"), f"`{name}` is reached by plain http", "use https")
        if isinstance(node, Placed) and _unprotected(subject, node):
            message = f"node `{name}` answers plain http beyond this machine"
            yield Breach(("nodes", name), message, "add `tls:` to the node or to the topology", at_key=True)
    for name, issuer in subject.topology.issuers.items():
        if _plain_beyond_loopback(issuer.oidc):
            yield Breach(("issuers", name, "oidc"), f"issuer `{name}` is reached by plain http", "use https")


def _plain_beyond_loopback(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme != "http" or parts.hostname in (None, "localhost"):
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def _unprotected(subject: Subject, node: Placed) -> bool:
    if node.tls or subject.topology.tls or "tls" in subject.unsure:
        return False
    host = subject.topology.host_of(node)
    return host is not None and not host.loopback


def pulls_prod_and_dev(subject: Subject) -> Iterator[Breach]:
    """S11. At the grant of the dev-class scope."""
    topology = subject.topology
    prod = _pullers(topology, subject.scopes_of(ScopeClass.PROD))
    for name, scope in subject.scopes_of(ScopeClass.DEV).items():
        for index, grant in enumerate(scope.grants):
            both = _both(prod, _behind(topology, grant)) if Action.PULL in grant.allow else []
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                message = f"`{both[0]}`{more} may pull from prod and, by this grant, dev images of `{name}`"
                help = "grant it to people and robots that do not run prod"
                yield Breach(("scopes", name, "grants", index, "to"), message, help)


def _pullers(topology: Topology, scopes: dict[str, Scope]) -> frozenset[str]:
    grants = (grant for scope in scopes.values() for grant in scope.grants if Action.PULL in grant.allow)
    return frozenset(name for grant in grants for name in _behind(topology, grant))


def _behind(topology: Topology, grant: ScopeGrant) -> frozenset[str]:
    """The users behind a grant, and the groups whose members tokens decide."""
    group = topology.groups.get(grant.to)
    by_token = {grant.to} if grant.to in _WIDE or (group and group.oidc) else set()
    return users_behind(topology, grant.to) | by_token


def _both(prod: frozenset[str], dev: frozenset[str]) -> list[str]:
    if dev & _WIDE:
        return sorted(prod)
    if prod & _WIDE:
        return sorted(dev)
    return sorted(prod & dev)


def eviction(subject: Subject) -> Iterator[Breach]:
    """D8."""
    for name, scope in subject.topology.scopes.items():
        if (
            scope.class_ in (ScopeClass.PROD, ScopeClass.ARCHIVE)
            and scope.quota
            and scope.quota.on_exceed == "evict-lru"
        ):
            message = f"{scope.class_}-class scope `{name}` drops images when its quota is full"
            yield Breach(("scopes", name, "quota", "onExceed"), message, "write `onExceed: reject`")
