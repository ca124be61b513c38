"""Which registries a mirror or virtual stands before, by the names that images have there: ``docker.io/library/...``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sites.settings.node_grants import sources_of
from topology.globs import covers
from topology.model import ExternalNode, MirrorNode, Topology, VirtualNode
from topology.nodes import HUB
from topology.values import EVERYTHING

_WILD = frozenset("*?[]{}!|()")
Globs = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """``host`` as images name it, where it answers itself, and under which repository prefixes it is asked for here
    ("": all)."""

    host: str
    server: str
    prefixes: tuple[str, ...]
    source: str  # the upstream or member that leads there


def hosts_of(topology: Topology, node: str) -> tuple[str, ...]:
    """The values of ``?ns=`` that mean a node: what the images that come through it are called by."""
    declared = topology.nodes[node]
    if isinstance(declared, ExternalNode):
        return declared.called
    return tuple(dict.fromkeys(each.host for each in served_by(topology, node)))


def served_by(topology: Topology, node: str, within: frozenset[str] = frozenset()) -> tuple[Served, ...]:
    """In the order in which the node asks; each host once for a source."""
    if node in within:
        return ()
    found: list[Served] = []
    for source, globs in _asked(topology, node):
        declared = topology.nodes[source]
        if isinstance(declared, ExternalNode):
            server = declared.url + (declared.base_path or "")
            behind = [Served(host, server, ("",), source) for host in _written(declared)]
        else:
            behind = list(served_by(topology, source, within | {node}))
        for each in behind:
            prefixes = _within(each.prefixes, _prefixes(globs))
            if prefixes:
                found.append(Served(each.host, each.server, prefixes, source))
    return tuple(found)


def _written(external: ExternalNode) -> tuple[str, ...]:
    """Clients write docker.io, whichever of Docker Hub's names one gives them."""
    names = external.called
    return names[:1] if names == HUB else names


def _asked(topology: Topology, node: str) -> Iterator[tuple[str, Globs]]:
    """What each source is asked for."""
    match topology.nodes[node]:
        case MirrorNode() as mirror:
            for use in mirror.upstreams:
                both = [b if covers(a, b) else a for a in mirror.repositories for b in use.repositories if _meet(a, b)]
                yield use.node, tuple(both)
        case VirtualNode() as virtual:
            rest = EVERYTHING if virtual.unmatched == "members" else ()
            for member in sources_of(topology, node):
                yield member, (*(glob for glob, owners in virtual.owns.items() if member in owners), *rest)


def _meet(one: str, other: str) -> bool:
    return covers(one, other) or covers(other, one)


def _prefixes(globs: Globs) -> tuple[str, ...]:
    """What stands before the first wildcard, in whole parts: library/** -> library; a pattern without any is itself."""
    found = []
    for glob in globs:
        parts = glob.split("/")
        plain = next((at for at, part in enumerate(parts) if _WILD & set(part)), len(parts))
        found.append("/".join(parts[:plain]))
    return ("",) if "" in found else tuple(dict.fromkeys(found))


def _within(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The prefixes that lie in both."""
    pairs = ((a, b) for a in one for b in other)
    both = (max(a, b, key=len) for a, b in pairs if beneath(a, b) or beneath(b, a))
    return tuple(dict.fromkeys(both))


def beneath(prefix: str, other: str) -> bool:
    """Whether ``prefix`` is ``other`` or lies below it."""
    return not other or prefix == other or prefix.startswith(f"{other}/")
