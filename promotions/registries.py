"""Where the nodes of a topology are, as registries to work with: one client a node, kept open."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.client.attempts import Retry
from promotions.outcome import Refused
from promotions.place import Place
from promotions.retry import RetryPolicy
from topology.model import ExternalNode, LocalNode, Topology
from topology.secrets import read as read_secret

REMOTE = RetryPolicy(attempts=4)  # of single requests; whole steps are tried again by the engine


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a node: ``http://127.0.0.1:5001``, as whom, and which certificates are believed there (None: the
    system's authorities). Never printed with its secret."""

    url: str
    username: str = ""
    secret: str = ""
    trust: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Address({self.url!r}, {self.username!r}, ***)"


class RemoteRegistries:
    """``addresses`` of local nodes by name (``towpath up`` writes them); external nodes say theirs in the topology."""

    def __init__(self, topology: Topology, addresses: Mapping[str, Address], retry: Retry = REMOTE) -> None:
        self._topology, self._addresses, self._retry = topology, dict(addresses), retry
        self._open: dict[str, RemoteRegistry] = {}

    def of(self, node: str) -> RemoteRegistry:
        """The client of a node. Raises Refused (NODE_UNKNOWN, NODE_NOT_RUNNING)."""
        if node not in self._open:
            self._open[node] = self._client(node)
        return self._open[node]

    def place(self, node: str, repository: str) -> Place:
        """A repository at a declared node. Raises Refused (NODE_UNKNOWN, NODE_NOT_RUNNING)."""
        registry = self.of(node)
        declared = self._topology.nodes[node]
        scope = declared.scope if isinstance(declared, LocalNode | ExternalNode) else None
        path = urlsplit(registry.url).path.rstrip("/")  # nodes behind one proxy, by path, mount nothing of each other's
        return Place(node, scope or "", registry, repository, repository, f"{registry.origin}{path}")

    async def aclose(self) -> None:
        for registry in self._open.values():
            await registry.aclose()
        self._open.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _client(self, node: str) -> RemoteRegistry:
        declared = self._topology.nodes.get(node)
        if declared is None:
            raise Refused("NODE_UNKNOWN", f"no node is called {node!r}", f"nodes: {', '.join(self._topology.nodes)}")
        if isinstance(declared, ExternalNode):
            return self._external(declared)
        address = self._addresses.get(node)
        if address is None:
            raise Refused(
                "NODE_NOT_RUNNING", f"node {node} has no address", "start it: towpath up, or towpath apply", failed=True
            )
        credentials = Credentials(address.username, address.secret)
        return RemoteRegistry(address.url, credentials=credentials, retry=self._retry, trust=address.trust)

    def _external(self, node: ExternalNode) -> RemoteRegistry:
        """The secret of ``auth`` is ``user:password``."""
        username, _, secret = (
            read_secret(node.auth, self._topology.base).decode().strip().partition(":") if node.auth else ("", "", "")
        )
        url = node.url + (node.base_path or "")
        credentials = Credentials(username, secret)
        return RemoteRegistry(
            url,
            credentials=credentials,
            namespace=node.namespace or "",
            realms=node.token_realms,
            retry=self._retry,
        )
