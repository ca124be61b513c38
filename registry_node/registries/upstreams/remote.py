"""A registry of the settings as a client: its address, whom as, what it may be connected to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from oci_wire.client import RemoteRegistry
from oci_wire.client.addresses import CheckedTransport, Reach
from oci_wire.client.attempts import Retry, once_only
from oci_wire.client.credentials import KNOWN_REALMS
from oci_wire.client.proxies import Choose, always, environment, no_proxy
from registry_node.registries.upstreams.secrets import Credential
from registry_node.settings.mirror import Remote

CONNECTIONS = 32
KEPT_FOR_TOKENS = 2  # connections besides those that are counted: the token service's
Heard = Callable[[httpx.Response], Coroutine[Any, Any, None]]
DOCKER_HUB = "registry-1.docker.io"


def client_of(
    remote: Remote,
    *,
    answer_seconds: float = 10.0,
    connections: int = CONNECTIONS,
    heard: Heard | None = None,
    retry: Retry = once_only,
    front: bool = False,
) -> RemoteRegistry:
    """The client of a declared registry; ``aclose`` ends its connections. ``heard`` gets the head of every answer;
    ``retry``, ``front`` as in RemoteRegistry.

    Raises OSError when the file of its authority cannot be read."""
    url = httpx.URL(remote.url)
    context = None
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=remote.ca) if remote.ca else httpx.create_ssl_context()
    http = httpx.AsyncClient(
        transport=CheckedTransport(
            Reach(url.host, remote.private),
            context,
            connections=connections + KEPT_FOR_TOKENS,
            proxy=_proxy(remote.proxy),
        ),
        timeout=httpx.Timeout(answer_seconds, pool=None),
        event_hooks={"response": [heard] if heard else []},
    )
    return RemoteRegistry(
        remote.url + remote.base_path,
        credentials=Credential(remote.credentials) if remote.credentials else None,
        namespace=remote.namespace,
        realms=remote.realms,
        client=http,
        owned=True,
        retry=retry,
        front=front,
    )


def _proxy(said: str) -> Choose:
    if said == "environment":
        return environment()
    return no_proxy if said == "none" else always(said)


def is_docker_hub(remote: Remote) -> bool:
    """Whether absent and forbidden look alike there, and everything else is public."""
    host = httpx.URL(remote.url).host
    return host in (DOCKER_HUB, "docker.io", "index.docker.io") and DOCKER_HUB in KNOWN_REALMS
