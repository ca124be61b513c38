"""What each host must have, from the topology alone. Pure: no host is asked, nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from registry_node.settings import NodeSettings
from sites.desired import firewall, layout, logs
from sites.desired.bundle import Release
from sites.desired.files import Directory, File, Part
from sites.desired.inventory import Target
from sites.desired.placement import Given
from sites.desired.protection import TRASH_TERM, said, trash_term
from sites.desired.proxy import DesiredProxy, proxy_of
from sites.settings.fronts import beside, neighbours_of
from sites.settings.node_grants import sources_of
from sites.settings.node_settings import rendered, settings_of
from sites.texts import text_of
from topology.firewalls import IpNetwork
from topology.model import MirrorNode, Topology

_STOP_MARGIN = 5.0  # seconds beyond the node's own drain
_FIRST_FREE_PORT = 1024  # below it a node needs the capability to bind


@dataclass(frozen=True, slots=True)
class DesiredNode:
    """``files`` in the order in which they are laid down; ``release``: what its link names."""

    name: str
    settings: NodeSettings
    files: tuple[File, ...]
    directories: tuple[Directory, ...]
    release: str
    protected: tuple[str, ...] = ()  # by what: ``node``, ``scope``
    trash: timedelta = TRASH_TERM

    @property
    def unit(self) -> str:
        return layout.unit(self.name)

    @property
    def data(self) -> Directory:
        """Made by systemd at the unit's start (StateDirectory=), with this mode and owner."""
        return Directory(str(layout.data(self.name)), 0o750, layout.USER, layout.GROUP)

    @property
    def link(self) -> tuple[str, str]:
        """Path and target."""
        return str(layout.release_of(self.name)), layout.link_target(self.release)


@dataclass(frozen=True, slots=True)
class DesiredHost:
    """``nodes`` in the order of their start. ``directories`` are those that all nodes share. ``admitted``: who may reach the
    nodes; None: whoever gets there."""

    target: Target
    release: Release
    directories: tuple[Directory, ...]
    nodes: tuple[DesiredNode, ...]
    parts: tuple[Part, ...] = ()
    admitted: tuple[IpNetwork, ...] | None = None
    proxy: DesiredProxy = field(default_factory=DesiredProxy)
    topology: str = ""  # its name
    machine: str = ""  # which one the host is; "": not known

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything whose state the plan must know."""
        own = [each.path for each in (*self.directories, *self.proxy.directories)]
        own += [*(each.path for each in self.proxy.files), str(layout.pending(layout.PROXY.name))]
        own += [each.path for part in self.parts for each in part.files]
        for node in self.nodes:
            own += [each.path for each in node.directories]
            own += [each.path for each in node.files]
            own += [node.link[0], node.data.path, str(layout.pending(node.name))]
        return tuple(dict.fromkeys(own))


def desired(
    topology: Topology, targets: Mapping[str, Target], given: Mapping[str, Given], release: Release
) -> dict[str, DesiredHost]:
    """By host. Raises pydantic.ValidationError when a node's own model refuses its settings."""
    return {name: _host(topology, target, given, release) for name, target in targets.items()}


def _host(topology: Topology, target: Target, given: Mapping[str, Given], release: Release) -> DesiredHost:
    nodes = tuple(_node(topology, each, given, release) for each in target.nodes)
    admitted = firewall.admitted(topology, target.site, target.name)
    filters = () if admitted is None else (firewall.part(topology, target.nodes, admitted),)
    parts, proxy = (logs.part(), *filters), proxy_of(topology, target, given)
    return DesiredHost(target, release, _shared(), nodes, parts, admitted, proxy, topology.metadata.name)


def _shared() -> tuple[Directory, ...]:
    folders = (layout.PROGRAMS, layout.RELEASES, layout.NODES, layout.SETTINGS, layout.DATA)
    return tuple(Directory(str(each)) for each in folders)


def _node(topology: Topology, name: str, given: Mapping[str, Given], release: Release) -> DesiredNode:
    own = given[name]
    settings = settings_of(topology, name, own.placement)
    folder, secrets = layout.settings(name).parent, layout.credentials(name)
    files = [File(path, content) for path, content in own.files.items()]
    files += [File(str(secrets / each), said, 0o600, secret=True) for each, said in own.credentials.items()]
    files.append(File(str(layout.settings(name)), rendered(settings), 0o640, "root", layout.GROUP))
    files.append(File(str(layout.unit_file(name)), unit(topology, name, settings, tuple(own.credentials)).encode()))
    directories = (Directory(str(folder), 0o750, "root", layout.GROUP), Directory(str(secrets), 0o700))
    protected = tuple(each for each, asked in said(topology, name).items() if asked)
    return DesiredNode(
        name, settings, tuple(files), directories, release.identity, protected, trash_term(topology, name)
    )


def unit(topology: Topology, name: str, settings: NodeSettings, credentials: tuple[str, ...]) -> str:
    """The node's systemd unit (systemd.exec(5)); ``credentials``: their names."""
    return (
        text_of(
            "unit.service.j2",
            node=name,
            kind=settings.kind,
            user=layout.USER,
            group=layout.GROUP,
            release=layout.release_of(name),
            settings=layout.settings(name),
            journal=layout.JOURNAL_NAMESPACE,
            state=layout.data(name).relative_to("/var/lib"),
            data=layout.data(name),
            credentials=credentials,
            credentials_folder=layout.credentials(name),
            beside=tuple(_beside(topology, name)),
            stop_seconds=int(settings.limits.drain_seconds + _STOP_MARGIN),
            capabilities="CAP_NET_BIND_SERVICE" if settings.listen.port < _FIRST_FREE_PORT else "",
        )
        + "\n"
    )


def _beside(topology: Topology, name: str) -> Iterator[str]:
    """The data folders on the node's host that it reads at once: of those that a mirror or virtual asks, and of a
    mirror's neighbours. No other node's."""
    own = topology.nodes[name]
    near = neighbours_of(topology, own) if isinstance(own, MirrorNode) else ()
    for other in dict.fromkeys((*sources_of(topology, name), *near)):
        if beside(own, topology.nodes[other]):
            yield str(layout.data(other))


def recorded(host: DesiredHost) -> bytes:
    """The inventory that is kept on the host: what apply lays down there, without contents."""
    laid_down = [(node.name, each) for node in host.nodes for each in node.files]
    files = {
        each.path: {
            "sha256": each.sha256,
            "mode": each.mode,
            "owner": each.owner,
            "group": each.group,
            "node": node,
        }
        for node, each in (*laid_down, *(("", each) for each in host.proxy.files))
    }
    owned = [("", each) for each in (*host.directories, *host.proxy.directories)]
    owned += [(node.name, each) for node in host.nodes for each in (*node.directories, node.data)]
    told = {
        "format": 1,
        "topology": host.topology,
        "machine": host.machine,
        "files": files,
        "links": {node.link[0]: {"target": node.link[1], "node": node.name} for node in host.nodes},
        "units": {each.unit: each.name for each in host.nodes},
        "directories": {each.path: {**each.recorded(), "node": node} for node, each in owned},
        "parts": {each.name: each.recorded() for each in host.parts},
        "nodes": {each.name: _recorded(each) for each in host.nodes},
        "releases": {host.release.identity: {"manifest": host.release.manifest}},
    }
    return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"


def _recorded(node: DesiredNode) -> dict[str, Any]:
    """What must be known of a node once the topology no longer names it."""
    settings = node.settings
    place = {"port": settings.listen.port, "tls": settings.tls is not None}
    kept = {"protected": list(node.protected), "trash_seconds": node.trash.total_seconds()}
    return {"kind": settings.kind, "scope": settings.scope, **place, **kept}
