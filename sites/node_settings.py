"""One node's settings from the topology: rendered as text, then read by the node's own model before anyone writes it.

``up``, ``apply`` and ``render`` all stand on ``settings_of``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from identity.grants import Action, WritePolicy
from registry_node.settings import NodeSettings, Tls, User
from sites.addresses import Address
from sites.credentials import ENGINE
from topology.model import LocalNode, RateLimits, Role, Topology

_TEMPLATES = Environment(loader=PackageLoader("sites"), undefined=StrictUndefined, autoescape=False)  # noqa: S701 - JSON; all values through tojson


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a node answers and keeps its data, and whom it knows: what differs between a laptop and a host."""

    address: Address
    data: Path
    users: Mapping[str, User]  # the engine's own included
    tls: Tls | None = None  # where the node's certificate and key lie on its host; None: plain HTTP, on loopback


def settings_of(topology: Topology, node: str, placement: Placement) -> NodeSettings:
    """Raises pydantic.ValidationError when the node's own model refuses the result, LookupError for a name that is no
    local node."""
    return NodeSettings.model_validate_json(render(topology, node, placement))


def render(topology: Topology, name: str, placement: Placement) -> str:
    """The settings file as text."""
    node = topology.nodes[name]
    if not isinstance(node, LocalNode):
        raise LookupError(f"{name} is a {node.kind} node: only local nodes have settings yet")
    scope = topology.scopes[node.scope]
    return _TEMPLATES.get_template("settings.json.j2").render(
        node=name,
        scope_name=node.scope,
        scope=scope,
        site=node.site,
        address=placement.address,
        data=str(placement.data),
        users={each: user.model_dump(mode="json", exclude_none=True) for each, user in placement.users.items()},
        grants=list(_grants(topology, node)),
        write=write_policy(topology, node),
        tls=placement.tls.model_dump(mode="json") if placement.tls else None,
        rate_limits=_rate_limits(node.rate_limits or scope.rate_limits),
    )


def write_policy(topology: Topology, node: LocalNode) -> WritePolicy:
    """The scope's; but a replica takes images from its primary alone."""
    declared = topology.scopes[node.scope].write
    if node.role is Role.REPLICA and declared in (WritePolicy.OPEN, WritePolicy.ROBOTS):
        return WritePolicy.REPLICATION_ONLY
    return declared


def _rate_limits(declared: RateLimits | None) -> dict[str, dict[str, float]]:
    if declared is None:
        return {}
    limits = {
        "identity": declared.per_identity,
        "address": declared.per_address,
        "failed_logins": declared.failed_logins,
    }
    return {name: {"per_second": each.rate, "burst": each.burst} for name, each in limits.items() if each is not None}


def _grants(topology: Topology, node: LocalNode) -> Iterator[dict[str, Any]]:
    for grant in topology.scopes[node.scope].grants:
        if grant.sites is None or node.site in grant.sites:
            yield {
                "to": grant.to,
                "allow": list(grant.allow),
                "repositories": list(grant.repositories),
                "tags": list(grant.tags),
            }
    yield {"to": ENGINE, "allow": list(Action)}
