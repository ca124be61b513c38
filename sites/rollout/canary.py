"""The health gate: whether a node that was just started does its work, asked from outside at its served address.

Ready, on the settings that it was given; then a small artifact is pushed and pulled by digest as the engine's robot,
and deleted again. A mirror, a virtual and a read-only scope take no such pushes: there the engine's login is enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from identity.grants import WritePolicy
from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import InsufficientStorage, RegistryError
from oci_wire.manifest import EMPTY_CONFIG, OCI_MANIFEST, Manifest
from oci_wire.registry import Call
from registry_node.settings import NodeSettings, mark_of
from sites.hosts import HostError
from sites.rollout.canary_name import canary_name
from sites.settings.credentials import ENGINE
from sites.settings.node_settings import rendered

READY_SECONDS = 60.0
POLL = 0.2
_TYPE = "application/vnd.towpath.canary.v1"
_CONFIG = Descriptor(EMPTY_CONFIG, Digest.of(b"{}"), 2)


@dataclass(frozen=True, slots=True)
class Gate:
    """``engine``: its token. ``trust`` None: the system's authorities."""

    engine: str
    trust: ssl.SSLContext | None = None

    async def check(self, node: str, url: str, settings: NodeSettings, *, seconds: float = READY_SECONDS) -> None:
        """Raises HostError: what of it the node failed."""
        async with self._client() as client:  # one connection for all: over a long line each costs more than a question
            await self._ready(client, node, url, mark_of(rendered(settings)), seconds)
            registry = RemoteRegistry(url, credentials=Credentials(ENGINE, self.engine), client=client)
            clients = self._as_clients(url, client)
            try:
                await _try(registry, clients, node, settings)
            except RegistryError as error:
                raise _failed(node, url, "does not do its work", error.message) from None

    async def serves(self, url: str) -> bool:
        """Whether a node answers as ready now."""
        async with self._client() as client:
            try:
                return (await client.get(f"{url}/readyz")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

    async def _ready(self, client: httpx.AsyncClient, node: str, url: str, mark: str, seconds: float) -> None:
        until, said = time.monotonic() + seconds, "no answer"
        while True:
            try:
                answer = await client.get(f"{url}/readyz")
                said = f"/readyz answers {answer.status_code}"
                if answer.status_code == httpx.codes.OK:
                    if answer.headers.get("towpath-settings") == mark:
                        return
                    said = "it has not taken its settings"
            except httpx.TransportError as error:
                said = str(error) or type(error).__name__
            if time.monotonic() > until:
                raise _failed(node, url, f"is not ready after {seconds:.0f} s", said)
            await asyncio.sleep(POLL)

    def registry(self, url: str) -> RemoteRegistry:
        return RemoteRegistry(url, credentials=Credentials(ENGINE, self.engine), client=self._client(), owned=True)

    def _as_clients(self, url: str, client: httpx.AsyncClient) -> RemoteRegistry:
        """The same node as clients ask it that know nothing of paths but what an image is called (decision 0020)."""
        parts, login = urlsplit(url), Credentials(ENGINE, self.engine)
        host, called = f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
        return RemoteRegistry(host, credentials=login, namespace=called, client=client)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self.trust or True, timeout=httpx.Timeout(10.0), trust_env=False)


async def _try(registry: RemoteRegistry, clients: RemoteRegistry, node: str, settings: NodeSettings) -> None:
    """``clients``: the same as clients ask it. Raises RegistryError."""
    repository = canary_name(settings.rules.repository_name) if settings.kind == "local" else None
    if repository is None or settings.rules.write is WritePolicy.READ_ONLY:
        await registry.ping(Call())
        return
    with contextlib.suppress(InsufficientStorage):  # a full scope is no sick node
        await _push_and_pull(clients, repository, node)


async def _push_and_pull(registry: RemoteRegistry, repository: str, node: str) -> None:
    """Raises RegistryError."""
    call, content = Call(), _content(node)
    layer, manifest = _layer(content), canary(node)
    for each, held in ((_CONFIG, b"{}"), (layer, content)):
        await registry.put_blob(call, repository, each, _once(held))
    await registry.put_manifest(call, repository, manifest)
    try:
        pulled = await registry.get_manifest(call, repository, str(manifest.digest))
        stream = await registry.open_blob(call, repository, layer.digest)
        if pulled.content != manifest.content or await stream.read() != content:
            raise RegistryError("what was pulled is not what was pushed")
    finally:
        with contextlib.suppress(RegistryError):
            await registry.delete_manifest(call, repository, manifest.digest)


def canary(node: str) -> Manifest:
    """What is pushed to a node, the same at every gate. One that was cut off may have left it there."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": _TYPE,
        "config": _CONFIG.to_json(),
        "layers": [_layer(_content(node)).to_json()],
    }
    return Manifest.parse(json.dumps(body).encode(), OCI_MANIFEST)


def _content(node: str) -> bytes:
    return f'{{"canary":"{node}"}}'.encode()


def _layer(content: bytes) -> Descriptor:
    return Descriptor(_TYPE, Digest.of(content), len(content))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _failed(node: str, url: str, what: str, why: str) -> HostError:
    return HostError(
        "node-unhealthy",
        f"node {node} {what}",
        where=url,
        why=why,
        next=f"see its log on the host: journalctl --namespace=+towpath -u towpath-{node}",
    )
