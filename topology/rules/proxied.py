"""Nodes behind a host's nginx: P1, P2, P3."""

from __future__ import annotations

from collections.abc import Iterator

from topology.findings import Breach
from topology.model import Placed
from topology.places import HostProxy, NodeProxy, NoProxy
from topology.proxies import public_address
from topology.rules.subject import Subject

_RESERVED = ("v2", "auth")  # paths of the protocol itself


def by_path(subject: Subject) -> Iterator[Breach]:
    """P1."""
    shown: dict[tuple[str, str], tuple[str, object]] = {}
    for name, node in subject.topology.nodes.items():
        host = subject.topology.host_of(node)
        found = public_address(subject.topology, name)
        if host is None or not isinstance(node, Placed):
            continue
        own = NodeProxy() if node.proxy is None else node.proxy
        if found is None or not found.path:
            if own.path and host.proxy:
                message = f"`{name}` has a path, and host `{node.host}` tells its nodes apart by {host.proxy.method}"
                yield Breach(("nodes", name), message, "leave `path` out, or write `method: path`", at_key=True)
            continue
        if found.path.partition("/")[0] in _RESERVED:
            message = (
                f"the path of `{name}` begins with `{found.path.partition('/')[0]}`, as the protocol's own paths do"
            )
            yield Breach(("nodes", name), message, "choose another one: `proxy: {path: ...}`", at_key=True)
        if own.name or own.port:
            message = (
                f"`{name}` has a name or port of its own, and all of host `{node.host}` share one: they differ by path"
            )
            yield Breach(
                ("nodes", name), message, "leave it out; the host's `proxy` has `domain` and `port`", at_key=True
            )
        first, pair = shown.setdefault((node.site, node.host), (name, node.tls))
        if node.tls != pair:
            message = f"`{name}` and `{first}` stand behind one name and do not show the same certificate"
            yield Breach(("nodes", name), message, "give them the same `tls`, or none", at_key=True)


def address_twice(subject: Subject) -> Iterator[Breach]:
    """P2."""
    placed = [(name, node) for name, node in subject.topology.nodes.items() if isinstance(node, Placed)]
    listening = {(node.site, node.host, node.port): name for name, node in placed}
    taken: dict[tuple[str, str, str, int], str] = {}
    paths: dict[tuple[str, str], dict[str, str]] = {}
    for name, node in placed:
        found = public_address(subject.topology, name)
        if found is None:
            continue
        called = found.host if found.named else ""
        listens = listening.get((node.site, node.host, found.port))
        if found.path and not listens:
            yield from _path_twice(name, node, found.path, paths)
            continue
        first = taken.setdefault((node.site, node.host, called, found.port), name)
        if listens or first != name:
            said = f"`{called}` at port {found.port}" if called and not listens else f"port {found.port}"
            by = f"`{listens}` itself listens there" if listens else f"it is that of `{first}`"
            message = f"nginx is to answer for `{name}` at {said} of host `{node.host}` ({by})"
            yield Breach(("nodes", name), message, "choose another one: `proxy: {name: ..., port: ...}`", at_key=True)


def _path_twice(name: str, node: Placed, path: str, paths: dict[tuple[str, str], dict[str, str]]) -> Iterator[Breach]:
    """``paths``: of the nodes before it, by host; its own is added."""
    others = paths.setdefault((node.site, node.host), {})
    for other, of in others.items():
        if f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
            message = (
                f"nginx is to answer for `{name}` below `{path}` of host `{node.host}`, for `{of}` below `{other}`"
            )
            yield Breach(("nodes", name), message, "choose paths that part: `proxy: {path: ...}`", at_key=True)
            break
    others[path] = name


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
    if found is None and proxy.method == "port":
        message = f"`{name}` has no port of its own in front of host `{node.host}`"
        return message, f"add `proxy: {{port: ...}}` to `{name}`, other than {node.port}"
    if found is None:
        message = f"`{name}` has no name in front of host `{node.host}`"
        return message, "add `domain` to the host's proxy, or `proxy: {name: ...}` to the node"
    return None
