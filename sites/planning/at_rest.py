"""R9: a scope whose SLA says ``atRest: encrypted`` lies on encrypted devices alone, as the hosts' facts show. Pure."""

from __future__ import annotations

from sites.desired import layout
from sites.hosts import HostError
from sites.planning.facts import AtRestFacts, HostFacts
from sites.settings.node_grants import sources_of
from topology.model import LocalNode, MirrorNode, Topology, VirtualNode

ENCRYPTED = "encrypted"


def not_encrypted(topology: Topology, nodes: tuple[str, ...], host: str, facts: HostFacts) -> list[HostError]:
    """The refusal of a host with ``nodes`` of which some keep images of such a scope where nothing shows encryption."""
    bare = {
        name: scopes for name in nodes if (scopes := kept_encrypted(topology, name)) and not _of(name, facts).encryption
    }
    if not bare:
        return []
    first, scopes = next(iter(bare.items()))
    sla = topology.scopes[scopes[0]].sla
    devices = dict.fromkeys(_of(name, facts).device or "an unknown device" for name in bare)
    return [
        HostError(
            "at-rest-not-shown",
            f"host {host} does not show that the data of {', '.join(bare)} are encrypted at rest",
            where=f"{', '.join(devices)}, which holds {layout.data(first)}",
            why=f"SLA {sla} of scope {scopes[0]} says atRest: encrypted, and neither fscrypt nor dm-crypt shows there",
            next=f"put {layout.DATA} on a LUKS device (cryptsetup luksFormat, then mount it there), "
            f"place {first} on a host that has one, or take atRest out of the SLA",
        )
    ]


def _of(node: str, facts: HostFacts) -> AtRestFacts:
    return facts.at_rest.get(str(layout.data(node)), AtRestFacts())


def kept_encrypted(topology: Topology, node: str, within: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The scopes of which a node keeps images that must be encrypted at rest: its own, or those that a mirror copies."""
    declared = topology.nodes[node]
    if isinstance(declared, LocalNode):
        sla = topology.slas.get(topology.scopes[declared.scope].sla or "")
        return (declared.scope,) if sla and sla.at_rest == ENCRYPTED else ()
    if node in within or not (isinstance(declared, MirrorNode) or (within and isinstance(declared, VirtualNode))):
        return ()  # a virtual keeps nothing; what it gives is kept by the mirror that asks it
    asked = (kept_encrypted(topology, each, within | {node}) for each in sources_of(topology, node))
    return tuple(dict.fromkeys(scope for scopes in asked for scope in scopes))
