"""Where clients reach a node: as it runs here, else as it is declared."""

from __future__ import annotations

from sites.hosts import HostError
from topology.model import ExternalNode, Placed
from topology.proxies import public_address
from towpath.exits import Exit
from towpath.problem import Problem
from towpath.workspace import Workspace


def url_of(workspace: Workspace, name: str) -> str:
    """``http://127.0.1.1:5001``: plain http on this machine alone."""
    from sites.settings.addresses import Address, loopback_addresses

    topology = workspace.topology
    node = topology.nodes[name]
    if isinstance(node, ExternalNode):
        return node.url + (node.base_path or "")
    if url := workspace.state.read_addresses().get(name):
        return url
    host = topology.sites[node.site].hosts[node.host]
    if host.loopback:
        return loopback_addresses(topology)[name].url
    if public := public_address(topology, name):
        return Address(public.host, public.port, tls=True, path=public.path).url
    return f"https://{host.reached_at}:{node.port}"


def authority_of(workspace: Workspace, name: str) -> str:
    """PEM of the topology's own authority; "" for a node whose certificate comes from elsewhere. Raises Problem."""
    topology, node = workspace.topology, workspace.topology.nodes[name]
    if not isinstance(node, Placed) or node.tls is not None or topology.tls is None:
        return ""
    from sites.settings import trust

    try:
        return (trust.authority_of(topology) or b"").decode()
    except HostError as error:
        raise Problem(
            "no-authority",
            f"the topology's authority cannot be shown: {error.what}",
            where="tls.ca.cert",
            next=f"put its certificate at {topology.base / topology.tls.ca.cert}: clients must be given it",
            exit=Exit.USAGE,
        ) from None
