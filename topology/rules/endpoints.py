"""G4 of ``endpoint``: what it names must give the scope's images, all of them and no others, at its site."""

from __future__ import annotations

from collections.abc import Iterator

from topology.endpoints import local_nodes
from topology.findings import Breach
from topology.model import LocalNode, MirrorNode, Node, Placed, Topology, VirtualNode
from topology.rules.subject import Subject

_HELP = "name a node of the scope at that site, or a virtual over them: {members: [...], owns: {'**': [...]}}"


def unfit_endpoints(subject: Subject) -> Iterator[Breach]:
    """One finding for each endpoint."""
    if "nodes" in subject.unsure:
        return
    for scope, declared in subject.topology.scopes.items():
        for site, name in declared.endpoint.items():
            node = subject.topology.nodes.get(name)
            if node is None or site not in subject.topology.sites:
                continue  # references have said so
            why = _unfit(subject.topology, scope, site, node)
            if why:
                message = f"the endpoint of scope `{scope}` at `{site}` is `{name}`, {why}"
                yield Breach(("scopes", scope, "endpoint", site), message, _HELP)


def _unfit(topology: Topology, scope: str, site: str, node: Node) -> str:
    """The end of a sentence about the node; "": it can be the endpoint."""
    match node:
        case VirtualNode() as virtual:
            return _elsewhere(virtual, site) or _unfit_virtual(topology, scope, site, virtual)
        case MirrorNode():
            return "a mirror, which gives the images of its upstreams"
        case LocalNode() as local if local.scope == scope:
            return _elsewhere(local, site)
        case _:
            return f"which is no node of ours that holds `{scope}`"


def _elsewhere(node: Placed, site: str) -> str:
    return "" if node.site == site else f"which stands at `{node.site}`"


def _unfit_virtual(topology: Topology, scope: str, site: str, virtual: VirtualNode) -> str:
    ours = {name for name, _ in topology.members_of(scope)}
    if strangers := [each for each in virtual.members if each not in ours and each in topology.nodes]:
        return f"a virtual that also gives the images of `{strangers[0]}`, which is no node of `{scope}`"
    here = local_nodes(topology, scope, site)
    if not here:
        return f"and scope `{scope}` has no node at `{site}`"
    if not set(here) & set(virtual.members):
        return f"a virtual without the node of `{scope}` at `{site}`, `{here[0]}`"
    return _unguarded(virtual)


def _unguarded(virtual: VirtualNode) -> str:
    """Only the owners of one prefix answer for each other while one is down (decision 0012)."""
    if len(virtual.members) == 1:
        return ""
    if virtual.unmatched == "members":
        return "a virtual with `unmatched: members`: while one of them is down it cannot tell what a tag means"
    alone = next((glob for glob, owners in virtual.owns.items() if len(owners) == 1), None)
    return f"a virtual that asks one node alone for `{alone}`: nobody answers while it is down" if alone else ""
