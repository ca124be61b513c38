"""What of a host is taken over as it is: its nodes, its record, and the secrets that were issued for it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sites.desired import layout
from sites.desired.inventory import Target
from sites.desired.placement import ROBOT, TLS_KEY
from sites.hosts import HostError
from sites.planning.admission import of_others
from sites.planning.deployment import Deployment
from sites.planning.facts import HostFacts
from sites.planning.records import in_force, nodes_of, remade, unlisted
from sites.settings.node_grants import sources_of
from sites.state import StateFolder
from topology.model import Placed, Topology
from topology.proxies import public_address

_WHOSE = "host-of-unknown-topology"


@dataclass(frozen=True, slots=True)
class Adopted:
    """``nodes``: what becomes of each, for people. ``record``: to be written; None: the one that is there does."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    record: bytes | None = None
    errors: tuple[HostError, ...] = ()


def adopted(deployment: Deployment, name: str, facts: HostFacts, *, anyway: bool) -> Adopted:
    """``anyway``: also where nothing says that the nodes are this topology's. Never those of one that is named."""
    own = deployment.topology.metadata.name
    errors = tuple(
        each for each in of_others(name, own, facts, deployment.known_nodes) if not (anyway and each.code == _WHOSE)
    )
    if errors:
        return Adopted(errors=errors)
    host = deployment.protected_on(name, facts)
    record = remade(replace(host, topology=own, machine=facts.machine_id), facts)
    lost, stay = unlisted(facts), {each.name for each in host.nodes}
    nodes = {}
    for node in sorted(nodes_of(in_force(facts, record))):
        how = "without a record until now" if node in lost else "as its record says"
        nodes[node] = how if node in stay else f"{how}; leaves: the topology does not have it here"
    return Adopted(nodes, record)


def issued_on(topology: Topology, target: Target, state: StateFolder) -> dict[str, Path]:
    """Path on the host -> in the state folder: what apply issues and keeps in both."""
    found: dict[str, Path] = {}
    for node in target.nodes:
        declared = topology.nodes[node]
        if isinstance(declared, Placed) and declared.tls is None and topology.tls is not None:
            behind = public_address(topology, node) is not None
            certificate = layout.proxy_certificate(node) if behind else layout.certificate(node)
            key = layout.proxy_key(node) if behind else layout.credentials(node) / TLS_KEY
            found[str(certificate)] = state.issued / f"{node}.crt"
            found[str(key)] = state.issued / f"{node}.key"
        if sources_of(topology, node):
            found[str(layout.credentials(node) / ROBOT)] = state.robot(node)
    return found


def of_another(record: str, topology: str) -> bool:
    """Whether a host's record, as its text, says that its nodes are another topology's: their secrets are none of ours."""
    try:
        whose = json.loads(record)["topology"]
    except (ValueError, LookupError, TypeError):
        return False
    return whose not in ("", topology)
