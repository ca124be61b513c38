"""Where clients find the nodes behind a host's nginx."""

from __future__ import annotations

from dataclasses import dataclass

from topology.model import Placed, Topology
from topology.places import Host, NoProxy


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """What clients say, in place of the address where the node listens. ``named``: nginx looks at the name too, and
    answers for no other. ``path``: what the names of the node's images begin with there; "": their own names."""

    host: str
    port: int
    named: bool
    path: str = ""


def public_address(topology: Topology, name: str) -> PublicAddress | None:
    """None: clients reach the node itself, or what is declared is too little (rule P3)."""
    node = topology.nodes.get(name)
    host = topology.host_of(node)
    return _address(name, node, host) if host and isinstance(node, Placed) else None


def _address(name: str, node: Placed, host: Host) -> PublicAddress | None:
    proxy, own = host.proxy, node.proxy
    if proxy is None or isinstance(own, NoProxy):
        return None
    if proxy.method == "path":
        host_name = proxy.domain or host.reached_at or "127.0.0.1"
        return PublicAddress(host_name, proxy.port, bool(proxy.domain), own.path if own and own.path else name)
    called, port = (own.name, own.port) if own else (None, None)
    if proxy.method == "subdomain" and (called or proxy.domain):
        return PublicAddress(called or f"{name}.{proxy.domain}", port or proxy.port, named=True)
    if proxy.method == "port" and port:
        return PublicAddress(called or host.reached_at or "127.0.0.1", port, named=False)
    return None
