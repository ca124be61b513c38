"""A StatefulSet, a Service and a Secret for each node (kubernetes.io, API v1 and apps/v1)."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from sites.render.contained import CA, DATA, SETTINGS, TLS, USER, Contained
from topology.model import LocalNode, MirrorNode, Topology

_TEMPLATES = Environment(  # noqa: S701 - YAML; all values through tojson
    loader=PackageLoader("sites"), undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_STORAGE = 50 * 2**30  # bytes, where the topology names no size
_ROOM = 1.2  # beyond the quota: uploads under way, trash, the index


def kubernetes(topology: Topology, nodes: Sequence[Contained], *, namespace: str, image: str) -> str:
    """One YAML text of many documents; the Namespace first. ``image``: of the node's container."""
    return _TEMPLATES.get_template("kubernetes.yaml.j2").render(
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
