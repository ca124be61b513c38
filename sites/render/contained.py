"""A node in a container: its settings with the paths that hold there, and the small files that it must be given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from registry_node.settings import CHANGEABLE, NodeSettings, Tls
from sites.settings.addresses import Address
from sites.settings.fronts import Reach
from sites.settings.node_settings import Placement, settings_of
from sites.settings.trust import authority_of
from topology.model import ExternalNode, LocalNode, MirrorNode, Placed, Topology
from topology.proxies import public_address

SETTINGS = PurePosixPath("/etc/towpath/node")  # settings.json, and a file for each login
TLS = PurePosixPath("/etc/towpath/tls")  # tls.crt and tls.key, as cert-manager calls them
CA = PurePosixPath("/etc/towpath/ca")
DATA = PurePosixPath("/var/lib/towpath")
USER = 10001  # of the process: no account of the host
_MARGIN = 15  # seconds beyond the drain, until the process is killed


@dataclass(frozen=True, slots=True)
class Contained:
    """``logins`` by the node that they are for; ``authorities``: PEM by the node whose certificate they judge."""

    name: str
    node: Placed
    settings: NodeSettings
    logins: Mapping[str, str]
    authorities: Mapping[str, str]

    @property
    def settings_text(self) -> str:
        """As JSON in ASCII: safe within any other text format."""
        content = json.loads(self.settings.model_dump_json(exclude_defaults=True))
        return json.dumps(content, indent=2)

    @property
    def restart_mark(self) -> str:
        """Differs when the settings differ in something that a running node cannot take in."""
        fixed = self.settings.model_dump_json(exclude=set(CHANGEABLE))
        return hashlib.sha256(fixed.encode()).hexdigest()[:16]

    @property
    def scheme(self) -> str:
        return "https" if self.settings.tls else "http"

    @property
    def grace(self) -> int:
        """Seconds between the first signal and the last."""
        return int(self.settings.limits.drain_seconds) + _MARGIN

    @property
    def labels(self) -> dict[str, str]:
        told = {"app.kubernetes.io/name": "towpath", "app.kubernetes.io/instance": self.name}
        scope = {"towpath/scope": self.node.scope} if isinstance(self.node, LocalNode) else {}
        return {**told, "towpath/kind": self.settings.kind, "towpath/site": self.node.site, **scope}


def contained(
    topology: Topology, placements: Mapping[str, Placement], chosen: Collection[str]
) -> tuple[Contained, ...]:
    """The chosen nodes, each asking those that are chosen too by their names, and others where the topology says.

    ``placements``: as on this machine (loopback_placement.py). Raises OSError for an authority that cannot be read."""
    apart = _without_neighbours(topology)
    return tuple(_contained(apart, name, placements[name], chosen) for name in placements if name in chosen)


def scheme_of(topology: Topology, node: Placed) -> str:
    """Plain HTTP only where the topology stays on one machine."""
    host = topology.sites[node.site].hosts[node.host]
    return "https" if node.tls or topology.tls or not host.loopback else "http"


def address_of(topology: Topology, name: str, chosen: Collection[str]) -> str:
    """HOST:PORT of a node of ours, and /PATH where a proxy tells it apart by that."""
    node = topology.nodes[name]
    assert isinstance(node, Placed)
    host = topology.sites[node.site].hosts[node.host]
    if name not in chosen and (public := public_address(topology, name)):
        return str(Address(public.host, public.port, path=public.path))
    return str(Address(name if name in chosen or not host.reached_at else host.reached_at, node.port))


def _contained(topology: Topology, name: str, placement: Placement, chosen: Collection[str]) -> Contained:
    node = topology.nodes[name]
    assert isinstance(node, Placed)
    authorities = dict(_authorities(topology, placement.reach))
    reach = {
        each: Reach(
            url="" if isinstance(topology.nodes[each], ExternalNode) else _url(topology, each, chosen),
            login=Path(SETTINGS / f"{each}.login") if way.login else None,
            ca=Path(CA / f"{each}.crt") if each in authorities else None,
        )
        for each, way in placement.reach.items()
    }
    placed = replace(
        placement,
        address=Address("0.0.0.0", node.port),  # noqa: S104 - in a container of its own
        data=Path(DATA),
        tls=_tls() if scheme_of(topology, node) == "https" else None,
        reach=reach,
    )
    logins = {each: way.login.read_text() for each, way in placement.reach.items() if way.login}
    return Contained(name, node, settings_of(topology, name, placed), logins, authorities)


def _url(topology: Topology, name: str, chosen: Collection[str]) -> str:
    node = topology.nodes[name]
    assert isinstance(node, Placed)
    return f"{scheme_of(topology, node)}://{address_of(topology, name, chosen)}"


def _tls() -> Tls:
    return Tls(certificate=Path(TLS / "tls.crt"), key=Path(TLS / "tls.key"))


def _authorities(topology: Topology, reach: Mapping[str, Reach]) -> Iterator[tuple[str, str]]:
    for name, way in reach.items():
        node = topology.nodes[name]
        if way.ca:
            yield name, way.ca.read_text()
        elif isinstance(node, Placed) and topology.tls and not node.tls:
            yield name, (authority_of(topology) or b"").decode()


def _without_neighbours(topology: Topology) -> Topology:
    """Containers do not share their folders."""
    alone = {
        name: node.model_copy(update={"neighbours": ()}) if isinstance(node, MirrorNode) else node
        for name, node in topology.nodes.items()
    }
    return topology.model_copy(update={"nodes": alone})
