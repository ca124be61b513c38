"""One node's settings from the topology: rendered as text, then read by the node's own model before anyone writes it.

``up``, ``apply`` and ``render`` all stand on ``settings_of``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry_node.settings import NodeSettings, Tls, User
from sites.settings.addresses import Address
from sites.settings.fronts import Reach, mirror_settings, virtual_settings, write_policy
from sites.settings.node_grants import node_grants
from sites.texts import text_of
from topology.model import LocalNode, MirrorNode, RateLimits, Topology, VirtualNode


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a node answers and keeps its data, whom it knows, and how it gets at the nodes that it asks: what differs
    between a laptop and a host."""

    address: Address
    data: Path
    users: Mapping[str, User]  # the engine's own included
    tls: Tls | None = None  # where the node's certificate and key lie on its host; None: plain HTTP, on loopback
    reach: Mapping[str, Reach] = field(default_factory=dict)  # of a mirror or virtual: its sources and neighbours
    proxies: tuple[str, ...] = ()  # CIDR: whose word on client, scheme and host is believed


def settings_of(topology: Topology, node: str, placement: Placement) -> NodeSettings:
    """Raises pydantic.ValidationError when the node's own model refuses the result, LookupError for an external node or
    a source that the placement says no way to."""
    return NodeSettings.model_validate_json(render(topology, node, placement))


def rendered(settings: NodeSettings) -> bytes:
    """The settings file of a node."""
    return settings.model_dump_json(indent=2, exclude_defaults=True).encode() + b"\n"


def render(topology: Topology, name: str, placement: Placement) -> str:
    """The settings file as text."""
    node = topology.nodes[name]
    if not isinstance(node, LocalNode | MirrorNode | VirtualNode):
        raise LookupError(f"{name} is an {node.kind} node: it has no settings of ours")
    scope = topology.scopes[node.scope] if isinstance(node, LocalNode) else None
    return text_of(
        "settings.json.j2",
        node=name,
        kind=node.kind,
        scope_name=node.scope if isinstance(node, LocalNode) else name,
        scope=scope,
        site=node.site,
        address=placement.address,
        data=str(placement.data),
        users={each: user.model_dump(mode="json", exclude_none=True) for each, user in placement.users.items()},
        grants=[each.model_dump(mode="json") for each in node_grants(topology, name)],
        write=write_policy(topology, name),
        mirror=mirror_settings(topology, node, placement.reach) if isinstance(node, MirrorNode) else None,
        virtual=virtual_settings(topology, name, node, placement.reach) if isinstance(node, VirtualNode) else None,
        tls=placement.tls.model_dump(mode="json") if placement.tls else None,
        proxies=list(placement.proxies),
        rate_limits=_rate_limits(
            (node.rate_limits or scope.rate_limits) if isinstance(node, LocalNode) and scope else None
        ),
    )


def _rate_limits(declared: RateLimits | None) -> dict[str, dict[str, float]]:
    if declared is None:
        return {}
    limits = {
        "identity": declared.per_identity,
        "address": declared.per_address,
        "failed_logins": declared.failed_logins,
    }
    return {name: {"per_second": each.rate, "burst": each.burst} for name, each in limits.items() if each is not None}
