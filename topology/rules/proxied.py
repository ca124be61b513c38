"""Nodes behind a host's nginx: P1, P2, P3."""

from __future__ import annotations

from collections.abc import Iterator

from topology.findings import Breach
from topology.model import Placed
from topology.places import HostProxy, NoProxy
from topology.proxies import public_address
from topology.rules.subject import Subject


def by_path(subject: Subject) -> Iterator[Breach]:
    """P1."""
    for site, declared in subject.topology.sites.items():
        for name, host in declared.hosts.items():
            if host.proxy and host.proxy.method == "path":
                message = f"clients of a registry can not tell the nodes of `{name}` apart by path"
                help = "write `method: subdomain` with a `domain`, or `method: port`; for one address: a virtual"
                yield Breach(("sites", site, "hosts", name, "proxy", "method"), message, help)


def address_twice(subject: Subject) -> Iterator[Breach]:
    """P2."""
    placed = [(name, node) for name, node in subject.topology.nodes.items() if isinstance(node, Placed)]
    listening = {(node.site, node.host, node.port): name for name, node in placed}
    taken: dict[tuple[str, str, str, int], str] = {}
    for name, node in placed:
        found = public_address(subject.topology, name)
        if found is None:
            continue
        called = found.host if found.named else ""
        first = taken.setdefault((node.site, node.host, called, found.port), name)
        listens = listening.get((node.site, node.host, found.port))
        if listens or first != name:
            said = f"`{called}` at port {found.port}" if called and not listens else f"port {found.port}"
            by = f"`{listens}` itself listens there" if listens else f"it is that of `{first}`"
            message = f"nginx is to answer for `{name}` at {said} of host `{node.host}` ({by})"
            yield Breach(("nodes", name), message, "choose another one: `proxy: {name: ..., port: ...}`", at_key=True)


def too_little(subject: Subject) -> Iterator[Breach]:
    """P3."""
    for name, node in subject.topology.nodes.items():
        host = subject.topology.host_of(node)
        if host is None or not isinstance(node, Placed) or isinstance(node.proxy, NoProxy):
            continue
        if host.proxy is None:
            if node.proxy:
                message = f"host `{node.host}` has no proxy that `{name}` could stand behind"
                yield Breach(("nodes", name, "proxy"), message, "add `proxy: {method: ...}` to the host")
        elif refusal := _lacks(subject, name, host.proxy, node):
            yield Breach(("nodes", name), *refusal, at_key=True)


def _lacks(subject: Subject, name: str, proxy: HostProxy, node: Placed) -> tuple[str, str] | None:
    found = public_address(subject.topology, name)
    if proxy.method == "path":
        return None  # P1
    if found is None and proxy.method == "port":
        message = f"`{name}` has no port of its own in front of host `{node.host}`"
        return message, f"add `proxy: {{port: ...}}` to `{name}`, other than {node.port}"
    if found is None:
        message = f"`{name}` has no name in front of host `{node.host}`"
        return message, "add `domain` to the host's proxy, or `proxy: {name: ...}` to the node"
    return None
