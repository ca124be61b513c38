"""References: every name that a declaration uses is declared somewhere (T010), and no name means two things (T011)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from identity.grants import ANYBODY, AUTHENTICATED
from topology.findings import Breach, suggest
from topology.model import (
    ApprovalGate,
    AttestationGate,
    ExternalNode,
    LocalNode,
    MirrorNode,
    Placed,
    SignatureGate,
    SoakGate,
    Topology,
    VirtualNode,
)
from topology.schema import declared_names

Path = tuple[str | int, ...]
SUGGESTED = 100  # unknown names that are compared with every known one
WHO = ("users", "groups")
_NOUNS = {"trust": "trust entry", "users": "user", "groups": "group", "slas": "SLA", "promotions": "promotion"}


@dataclass(frozen=True, slots=True)
class Use:
    """``says`` (``promotion `x` comes from``) uses ``name`` of one of ``sections``; ``also``: words of the language."""

    path: Path
    name: str
    sections: tuple[str, ...]
    says: str
    also: tuple[str, ...] = ()


def check_references(topology: Topology, data: dict[str, Any]) -> list[Breach]:
    """``data``: the whole file, so that what another stage refused still counts as declared."""
    declared = declared_names(data)
    names = {section: frozenset(each) for section, each in declared.items()}
    breaches = list(_twice(topology))
    for use in uses(topology):
        if use.name not in use.also and not any(use.name in names.get(section, ()) for section in use.sections):
            told = len(breaches) < SUGGESTED
            known = set(use.also).union(*(names.get(section, ()) for section in use.sections)) if told else ()
            breaches.append(_unknown(use, known))
    breaches += _hosts(topology, data)
    return breaches


def _unknown(use: Use, known: Iterable[str]) -> Breach:
    noun = " or ".join(_NOUNS.get(section, section.removesuffix("s")) for section in use.sections)
    help = suggest(use.name, known, noun) if known else f"declare it, or name a declared {noun}"
    return Breach(use.path, f"{use.says} an unknown {noun} `{use.name}`", help, code="T010")


def uses(topology: Topology) -> Iterator[Use]:
    """Every use of a declared name."""
    yield from _people(topology)
    yield from _scopes(topology)
    yield from _nodes(topology)
    yield from _gates(topology)
    yield from _edges(topology)


def _each(
    path: Path, names: Iterable[str], sections: tuple[str, ...], says: str, also: tuple[str, ...] = ()
) -> Iterator[Use]:
    for index, name in enumerate(names):
        yield Use((*path, index), name, sections, says, also)


def _people(topology: Topology) -> Iterator[Use]:
    for name, group in topology.groups.items():
        yield from _each(("groups", name, "users"), group.users, ("users",), f"group `{name}` holds")
        if group.oidc:
            yield Use(("groups", name, "oidc", "issuer"), group.oidc.issuer, ("issuers",), f"group `{name}` trusts")


def _scopes(topology: Topology) -> Iterator[Use]:
    anyone = (ANYBODY, AUTHENTICATED)
    for name, scope in topology.scopes.items():
        if scope.sla:
            yield Use(("scopes", name, "sla"), scope.sla, ("slas",), f"scope `{name}` promises")
        for index, grant in enumerate(scope.grants):
            here: Path = ("scopes", name, "grants", index)
            yield Use((*here, "to"), grant.to, WHO, f"scope `{name}` lets in", anyone)
            yield from _each((*here, "sites"), grant.sites or (), ("sites",), f"a grant of scope `{name}` holds at")
        for site, node in scope.endpoint.items():
            at: Path = ("scopes", name, "endpoint", site)
            yield Use(at, site, ("sites",), f"scope `{name}` has an endpoint at")
            yield Use(at, node, ("nodes",), f"the endpoint of scope `{name}` at `{site}` is")
        if scope.overrides:
            yield from _each(
                ("scopes", name, "overrides", "by"), scope.overrides.by, WHO, f"scope `{name}` takes overrides by"
            )


def _nodes(topology: Topology) -> Iterator[Use]:
    for name, node in topology.nodes.items():
        here: Path = ("nodes", name)
        if isinstance(node, Placed):
            yield Use((*here, "site"), node.site, ("sites",), f"node `{name}` stands at")
        match node:
            case LocalNode() | ExternalNode() if node.scope:
                yield Use((*here, "scope"), node.scope, ("scopes",), f"node `{name}` belongs to")
            case MirrorNode():
                yield from _mirror(here, name, node)
            case VirtualNode():
                yield from _virtual(here, name, node)


def _mirror(here: Path, name: str, node: MirrorNode) -> Iterator[Use]:
    yield from _each((*here, "upstreams"), node.sources, ("nodes",), f"mirror `{name}` pulls from")
    for index, grant in enumerate(node.grants or ()):
        yield Use((*here, "grants", index, "to"), grant.to, WHO, f"mirror `{name}` lets in", (ANYBODY, AUTHENTICATED))
    yield from _each((*here, "neighbours"), node.neighbours or (), ("nodes",), f"mirror `{name}` reads copies of")


def _virtual(here: Path, name: str, node: VirtualNode) -> Iterator[Use]:
    yield from _each((*here, "members"), node.members, ("nodes",), f"virtual `{name}` has")
    for prefix, owners in node.owns.items():
        yield from _each((*here, "owns", prefix), owners, ("nodes",), f"`{prefix}` of virtual `{name}` is owned by")
    if node.push_to:
        yield Use((*here, "pushTo"), node.push_to, ("nodes",), f"virtual `{name}` pushes to")


def _gates(topology: Topology) -> Iterator[Use]:
    for name, gate in topology.gates.items():
        match gate:
            case SignatureGate() | AttestationGate():
                yield from _each(("gates", name, "by"), gate.by, ("trust",), f"gate `{name}` asks for")
            case SoakGate():
                yield Use(("gates", name, "in"), gate.scope, ("scopes",), f"gate `{name}` soaks in")
            case ApprovalGate():
                yield from _each(("gates", name, "by"), gate.by, WHO, f"gate `{name}` is approved by")


def _edges(topology: Topology) -> Iterator[Use]:
    for index, edge in enumerate(topology.promotions):
        here: Path = ("promotions", index)
        says = f"promotion `{edge.id}`"
        yield Use((*here, "from"), edge.source, ("scopes",), f"{says} comes from")
        yield Use((*here, "to"), edge.target, ("scopes",), f"{says} leads to")
        yield from _each((*here, "by"), edge.by, WHO, f"{says} may be asked for by")
        yield from _each((*here, "gates"), edge.gates, ("gates",), f"{says} goes through")
        if edge.attest_with:
            yield Use((*here, "attestWith"), edge.attest_with, ("trust",), f"{says} attests with")
    for index, replication in enumerate(topology.replications):
        here = ("replications", index)
        says = f"replication `{replication.id}`"
        yield Use((*here, "from"), replication.source, ("nodes",), f"{says} comes from")
        yield from _each((*here, "to"), replication.targets, ("nodes",), f"{says} leads to")
    for index, freeze in enumerate(topology.freezes):
        yield from _each(
            ("freezes", index, "edges"), freeze.edges, ("promotions", "replications"), f"freeze `{freeze.name}` stops"
        )
    for index, backup in enumerate(topology.backups):
        yield Use(("backups", index, "scope"), backup.scope, ("scopes",), "a backup saves")
        yield Use(("backups", index, "from"), backup.source, ("nodes",), "a backup reads")


def _hosts(topology: Topology, data: dict[str, Any]) -> Iterator[Breach]:
    """A host is known within its site."""
    sites = data.get("sites")
    for name, node in topology.nodes.items():
        site = sites.get(node.site) if isinstance(node, Placed) and isinstance(sites, dict) else None
        hosts = site.get("hosts") if isinstance(site, dict) else None
        if isinstance(node, Placed) and isinstance(hosts, dict) and node.host not in hosts:
            says = f"node `{name}` stands on an unknown host `{node.host}` of site `{node.site}`"
            yield Breach(("nodes", name, "host"), says, suggest(node.host, hosts, "host"), code="T010")


def _twice(topology: Topology) -> Iterator[Breach]:
    for name in topology.users:
        if name in topology.groups:
            yield _same(("groups", name), name, "a user and a group")
    for section, word in (("users", ANYBODY), ("users", AUTHENTICATED), ("groups", ANYBODY), ("groups", AUTHENTICATED)):
        if word in getattr(topology, section):
            yield _same((section, word), word, f"one of the {section} and a word of the language")
    seen: set[str] = set()
    promotions = [(("promotions", index), edge.id) for index, edge in enumerate(topology.promotions)]
    replications = [(("replications", index), edge.id) for index, edge in enumerate(topology.replications)]
    for here, id in promotions + replications:
        if id in seen:
            yield _same((*here, "id"), id, "two edges")
        seen.add(id)


def _same(path: Path, name: str, things: str) -> Breach:
    return Breach(path, f"`{name}` is the name of {things}", "rename one of them", at_key=True, code="T011")
