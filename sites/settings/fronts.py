"""What a mirror or virtual is told of the nodes that it asks: the parts of its settings that are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from identity.grants import WritePolicy
from registry_node.settings import GrantSettings
from sites.settings.node_grants import ENGINE_PULLS, grants_at, robot_grants
from sites.settings.served import hosts_of
from topology.model import ExternalNode, LocalNode, MirrorNode, Role, Topology, VirtualNode

Settings = dict[str, Any]
_BITS = 8


@dataclass(frozen=True, slots=True)
class Reach:
    """How a node gets at another: its address ("" for an external one, which says its own), the file with the login to
    show there, the authority of its certificate, and its data folder when it stands on the same host."""

    url: str = ""
    login: Path | None = None
    ca: Path | None = None
    data: Path | None = None


def mirror_settings(topology: Topology, node: MirrorNode, reach: Mapping[str, Reach]) -> Settings:
    """Raises LookupError for an upstream without a way."""
    upstreams = [
        {
            **_remote(topology, use.node, reach[use.node]),
            "repositories": list(use.repositories),
            "deny": list(use.deny),
            "hosts": list(hosts_of(topology, use.node)),
            "front": isinstance(topology.nodes[use.node], MirrorNode | VirtualNode),
            **_manners(topology.nodes[use.node]),
        }
        for use in node.upstreams
    ]
    told = {
        "upstreams": upstreams,
        "repositories": list(node.repositories),
        "deny": list(node.deny),
        "tag_seconds": _seconds(node.tag_ttl),
        "negative_seconds": _seconds(node.negative_ttl),
        "stale_seconds": _seconds(node.serve_stale),
        "keep_deleted": node.keep_deleted,
        "on_outage": node.on_outage,
        "max_bytes": node.max_bytes,
        "answer_seconds": _seconds(node.answer_within),
        "finish_share": None if node.finish_share is None else node.finish_share / 100,
        "foreign_layers": list(node.foreign_layers.allow),
        "neighbours": _neighbours(topology, node, reach),
    }
    return {name: value for name, value in told.items() if value is not None}


def virtual_settings(topology: Topology, name: str, node: VirtualNode, reach: Mapping[str, Reach]) -> Settings:
    """Raises LookupError for a member without a way."""
    outer = (*robot_grants(topology, name), ENGINE_PULLS)
    told = {
        "members": [_member(topology, node, each, reach[each], outer) for each in node.members],
        "owns": [{"repositories": glob, "members": list(owners)} for glob, owners in node.owns.items()],
        "unmatched": node.unmatched,
        "resolve": node.resolve,
        "push_to": node.push_to,
        "hosts": list(node.hosts),
        "answer_seconds": _seconds(node.answer_within),
    }
    return {name: value for name, value in told.items() if value is not None}


def write_policy(topology: Topology, name: str) -> WritePolicy:
    """Of a node's scope; but a replica takes images from its primary alone, a mirror from nobody, and a virtual lets
    through what the member that it pushes to takes."""
    match topology.nodes[name]:
        case LocalNode() as local:
            declared = topology.scopes[local.scope].write
            if local.role is Role.REPLICA and declared in (WritePolicy.OPEN, WritePolicy.ROBOTS):
                return WritePolicy.REPLICATION_ONLY
            return declared
        case ExternalNode(takes_pushes=True) as external:
            return topology.scopes[external.scope or ""].write
        case VirtualNode(push_to=str(target)) if target != name:
            return write_policy(topology, target)
    return WritePolicy.READ_ONLY


def neighbours_of(topology: Topology, node: MirrorNode) -> tuple[str, ...]:
    """The local nodes whose copies a mirror may use: those of its host, or those that it names."""
    if node.neighbours is not None:
        return node.neighbours
    return tuple(name for name, each in topology.nodes.items() if isinstance(each, LocalNode) and beside(node, each))


def beside(one: object, other: object) -> bool:
    """Whether two nodes of ours stand on one host."""
    places = [(getattr(each, "site", None), getattr(each, "host", None)) for each in (one, other)]
    return places[0] == places[1] and None not in places[0]


def _member(topology: Topology, node: VirtualNode, name: str, reach: Reach, outer: Sequence[GrantSettings]) -> Settings:
    """``outer``: the grants of those that may have all that the virtual lets through: the engine, and the robots of
    nodes that ask it."""
    declared = topology.nodes[name]
    grants = (*grants_at(topology, name, node.site), *outer)
    return {
        **_remote(topology, name, reach),
        "kind": "remote" if isinstance(declared, ExternalNode) else declared.kind,
        "hosts": list(hosts_of(topology, name)),
        "data": str(reach.data) if reach.data and isinstance(declared, LocalNode | MirrorNode) else None,
        "grants": [each.model_dump(mode="json") for each in grants],
        "write": write_policy(topology, name),
    }


def _remote(topology: Topology, name: str, reach: Reach) -> Settings:
    declared = topology.nodes[name]
    ours = urlsplit(reach.url)
    told: Settings = {"name": name, "url": f"{ours.scheme}://{ours.netloc}", "base_path": ours.path}
    told["private"] = getattr(declared, "private", True)
    if isinstance(declared, ExternalNode):
        parts = urlsplit(declared.url)
        told |= {
            "url": f"{parts.scheme}://{parts.netloc}",
            "base_path": parts.path + (declared.base_path or "").rstrip("/"),
        }
        told |= {"namespace": declared.namespace or "", "realms": list(declared.token_realms)}
    told["credentials"] = {"file": str(reach.login)} if reach.login else None
    told["ca"] = str(reach.ca) if reach.ca else None
    return told


def _manners(declared: object) -> Settings:
    """How an external registry wants to be asked."""
    if not isinstance(declared, ExternalNode):
        return {}
    told: Settings = {"official_images": declared.below_library}
    if declared.budget:
        told["budget"] = {"pulls": declared.budget.pulls, "seconds": max(1, round(declared.budget.per.total_seconds()))}
    if declared.connections:
        told["connections"] = declared.connections
    if declared.bandwidth:
        told["bytes_per_second"] = max(1, declared.bandwidth // _BITS)
    return told


def _neighbours(topology: Topology, node: MirrorNode, reach: Mapping[str, Reach]) -> list[Settings]:
    return [
        {
            "name": name,
            "data": str(reach[name].data),
            "grants": [each.model_dump(mode="json") for each in grants_at(topology, name, node.site)],
        }
        for name in neighbours_of(topology, node)
    ]


def _seconds(declared: timedelta | None) -> float | None:
    return None if declared is None else declared.total_seconds()
