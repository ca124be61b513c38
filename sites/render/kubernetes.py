"""A StatefulSet, a Service and a Secret for each node (kubernetes.io, API v1 and apps/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from sites.render.contained import CA, DATA, SETTINGS, TLS, USER, Contained
from sites.texts import text_of
from topology.model import LocalNode, MirrorNode, Topology

_STORAGE = 50 * 2**30  # bytes, where the topology names no size
_ROOM = 1.2  # beyond the quota: uploads under way, trash, the index


def kubernetes(topology: Topology, nodes: Sequence[Contained], *, namespace: str, image: str) -> str:
    """One YAML text of many documents; the Namespace first. ``image``: of the node's container."""
    return text_of(
        "kubernetes.yaml.j2",
        nodes=nodes,
        namespace=namespace,
        image=image,
        storage={each.name: _gibibytes(topology, each) for each in nodes},
        paths={"settings": str(SETTINGS), "tls": str(TLS), "ca": str(CA), "data": str(DATA)},
        user=USER,
    )


def _gibibytes(topology: Topology, each: Contained) -> int:
    size = _STORAGE
    if isinstance(each.node, LocalNode) and (quota := topology.scopes[each.node.scope].quota):
        size = quota.bytes
    elif isinstance(each.node, MirrorNode) and each.node.max_bytes:
        size = each.node.max_bytes
    return -int(-size * _ROOM // 2**30)
