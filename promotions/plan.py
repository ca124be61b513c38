"""What a request means, settled once: which edge, which digest, which tags, and what the target shows now.

Everything after works on the digest; a source tag that moves changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import rfc8785

from identity.grants import Principal, matches
from oci_wire.digest import looks_like_digest
from oci_wire.errors import ManifestUnknown, NameUnknown, RegistryError
from oci_wire.extension import TagChange
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from promotions.outcome import Refused, Request
from promotions.place import Place
from promotions.store import PromotionRow
from promotions.tags import Image, TagsUnclear, target_tags
from promotions.transfer import current
from topology.model import KeyTrust, Promotion, SignatureGate, Topology


class Registries(Protocol):
    """Where the nodes of a topology are."""

    def place(self, node: str, repository: str) -> Place:
        """A repository at a declared node. Raises NodeUnknown."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """One promotion, pinned."""

    edge: Promotion
    source: Place
    target: Place
    manifest: Manifest
    tags: tuple[str, ...]

    @property
    def digest(self) -> str:
        return str(self.manifest.digest)


def find_edge(topology: Topology, request: Request) -> Promotion:
    """The one edge that the request goes over. Raises Refused (NO_EDGE, AMBIGUOUS_EDGE)."""
    if request.edge:
        edge = topology.edge(request.edge)
        if edge is None:
            known = ", ".join(each.id for each in topology.promotions) or "none"
            raise Refused("NO_EDGE", f"no edge is called {request.edge!r}", f"edges of this topology: {known}")
        return edge
    edges = topology.edges_between(request.source, request.target)
    edges = tuple(each for each in edges if matches(request.repository, each.repositories)) or edges
    if len(edges) > 1:
        ids = ", ".join(each.id for each in edges)
        raise Refused(
            "AMBIGUOUS_EDGE", f"several edges lead from {request.source} to {request.target}", f"name one: {ids}"
        )
    if not edges:
        raise Refused(
            "NO_EDGE", f"no edge leads from {request.source} to {request.target}", _instead(topology, request)
        )
    return edges[0]


def _instead(topology: Topology, request: Request) -> str:
    into = sorted({each.source for each in topology.promotions if each.target == request.target})
    out = sorted({each.target for each in topology.promotions if each.source == request.source})
    unknown = [each for each in (request.source, request.target) if each not in topology.scopes]
    if unknown:
        return f"{unknown[0]!r} is no scope; scopes: {', '.join(topology.scopes)}"
    if into:
        scopes = ", ".join(into)
        return (
            f"{request.target} takes images from {scopes}: build and push {request.repository} there, then promote it"
        )
    return f"{request.source} leads to {', '.join(out)}" if out else "declare a promotion in the topology"


def check_allowed(edge: Promotion, who: Principal, repository: str) -> None:
    """Raises Refused (NOT_ALLOWED, REPOSITORY_NOT_ON_EDGE)."""
    if not any(who.is_called(subject) for subject in edge.by):
        name = who.name or "somebody without credentials"
        asks = ", ".join(edge.by) or "nobody"
        remedy = f"it is for {asks}: ask as one of them (--user NAME, with TOWPATH_TOKEN or TOWPATH_PASSWORD set)"
        raise Refused("NOT_ALLOWED", f"{name} may not ask for {edge.id}", remedy)
    if not matches(repository, edge.repositories):
        shown = ", ".join(edge.repositories)
        raise Refused(
            "REPOSITORY_NOT_ON_EDGE",
            f"{edge.id} does not take {repository}",
            f"it takes {shown}; change the edge, or the name",
        )


async def make(
    topology: Topology, registries: Registries, edge: Promotion, request: Request, *, call: Call, now: float
) -> Plan:
    """Resolves the request. Raises Refused (SOURCE_UNKNOWN, TAGS_UNCLEAR), RegistryError."""
    source = registries.place(topology.primary_name(edge.source), request.repository)
    target = registries.place(topology.primary_name(edge.target), request.repository)
    try:
        manifest = await source.registry.get_manifest(call, source.repository, request.reference)
    except (ManifestUnknown, NameUnknown) as error:
        raise Refused(
            "SOURCE_UNKNOWN",
            f"source {source.scope}/{request.image} does not exist: {error.message}",
            f"push it to {source.scope} first, or look what is there: towpath ls {source}",
            failed=True,
        ) from None
    tag = request.tag or ("" if looks_like_digest(request.reference) else request.reference)
    try:
        tags = await target_tags(edge.tags, Image(source, call, manifest, tag, now))
    except TagsUnclear as error:
        remedy = error.remedy or f"set the label when building the image, or change the tags of edge {edge.id}"
        raise Refused("TAGS_UNCLEAR", str(error), remedy, failed=True) from None
    return Plan(edge, source, target, manifest, tags)


async def from_row(
    topology: Topology,
    registries: Registries,
    edge: Promotion,
    row: PromotionRow,
    call: Call,
    *,
    at_target: bool = False,
) -> Plan:
    """What a promotion was pinned to, read again by its digest. ``at_target``: its tags have changed there already, so
    the source may be gone. Raises Refused (SOURCE_UNKNOWN), RegistryError."""
    source = registries.place(topology.primary_name(edge.source), row.repository)
    target = registries.place(topology.primary_name(edge.target), row.repository)
    place = target if at_target else source
    try:
        manifest = await place.registry.get_manifest(call, place.repository, row.digest)
    except (ManifestUnknown, NameUnknown) as error:
        reason = f"{'target' if at_target else 'source'} {place}@{row.digest} is gone: {error.message}"
        raise Refused("SOURCE_UNKNOWN", reason, f"push it again, or give it up: {row.id}", failed=True) from None
    return Plan(edge, source, target, manifest, tuple(row.tags))


async def expectations(target: Place, call: Call, tags: tuple[str, ...]) -> dict[str, str | None]:
    """What each tag shows at the target before the promotion."""
    return {tag: await current(target, call, tag) for tag in tags}


def immutable_conflicts(topology: Topology, target: Place, expected: dict[str, str | None], digest: str) -> list[str]:
    """Tags that may not move, and show another digest: better said before anything is copied."""
    scope = topology.scopes.get(target.scope)
    patterns = scope.immutable_tags if scope else ()
    return [
        f"tag {tag} of {target} is immutable and shows {shown}"
        for tag, shown in sorted(expected.items())
        if shown not in (None, digest) and patterns and matches(tag, patterns)
    ]


def floating(topology: Topology, target: Place, tags: tuple[str, ...]) -> frozenset[str]:
    """Tags that are not immutable at the target."""
    scope = topology.scopes.get(target.scope)
    return frozenset(tag for tag in tags if not (scope and scope.immutable_tags and matches(tag, scope.immutable_tags)))


def changes(expected: dict[str, str | None], digest: str) -> tuple[TagChange, ...]:
    return tuple(TagChange(tag=tag, expect=shown, to=digest) for tag, shown in sorted(expected.items()))


def binding(topology: Topology, edge: Promotion, digest: str) -> str:
    """SHA-256 (hex) over what the verdicts rest on: the digest, the edge, its gates, the keys they trust.

    Not over the whole topology: else every edit elsewhere would void every verdict."""
    gates = {name: topology.gates[name].model_dump(mode="json") for name in edge.gates if name in topology.gates}
    rests_on: dict[str, Any] = {
        "digest": digest,
        "edge": edge.model_dump(mode="json", exclude={"owner", "labels"}),
        "gates": gates,
        "trust": {name: _trusted(topology, name) for name in sorted(_trust_names(topology, edge))},
    }
    return hashlib.sha256(rfc8785.dumps(rests_on)).hexdigest()


def _trust_names(topology: Topology, edge: Promotion) -> set[str]:
    gates = (topology.gates.get(name) for name in edge.gates)
    return {name for gate in gates if isinstance(gate, SignatureGate) for name in gate.by}


def _trusted(topology: Topology, name: str) -> Any:
    entry = topology.trust.get(name)
    if not isinstance(entry, KeyTrust):
        return entry.model_dump(mode="json") if entry else None
    try:
        return hashlib.sha256((topology.base / entry.file).read_bytes()).hexdigest()
    except OSError:
        return None


__all__ = [
    "Plan",
    "Registries",
    "RegistryError",
    "binding",
    "changes",
    "check_allowed",
    "expectations",
    "find_edge",
    "make",
]
