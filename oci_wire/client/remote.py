"""``RemoteRegistry``: the port and the extension over HTTP."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self

import httpx

from oci_wire.client.attempts import Retry, once_only
from oci_wire.client.credentials import Credentials, Origin, Source
from oci_wire.client.deletes import Deletes
from oci_wire.client.remote_extension import RemoteExtension
from oci_wire.client.transport import Ask, Transport
from oci_wire.client.where import Where
from oci_wire.registry import Call

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16)


def _client(origin: Origin, trust: ssl.SSLContext | None) -> httpx.AsyncClient:
    """The environment's proxy is not asked for this machine's own nodes: it could not reach them."""
    return httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, trust_env=not origin.is_loopback, verify=trust or True)


def _always(credentials: Credentials) -> Credentials:
    return credentials


class RemoteRegistry(Deletes, RemoteExtension):
    """A registry at ``url`` (``http://127.0.0.1:5001``, ``https://host/base``).

    ``namespace`` stands in front of every repository's name; ``realms`` are the hosts of token services that may be
    given the credentials beside the registry's own; ``retry`` decides on second attempts (none by default);
    ``chunk_size`` is how many bytes are sent, and kept for a second attempt, at a time. A ``client`` that is given
    stays the caller's to close, unless it is said to be ``owned``; without one, ``trust`` says which certificates are
    believed (None: the system's authorities). ``clock``: seconds, for the life of tokens.
    ``credentials`` may be a function: it is asked whenever they are said, and may raise. ``front``: it is a mirror or a
    virtual of ours, which is told whose image is meant (``call.ns``), and whose word on the age of an answer goes into
    ``call.notes``."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | Source | None = None,
        namespace: str = "",
        realms: Iterable[str] = (),
        retry: Retry = once_only,
        client: httpx.AsyncClient | None = None,
        trust: ssl.SSLContext | None = None,
        owned: bool = False,
        chunk_size: int = 8 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
        front: bool = False,
    ) -> None:
        http = client or _client(Origin.of(httpx.URL(url)), trust)
        self._owned = http if owned or client is None else None
        source = credentials if callable(credentials) else partial(_always, credentials or Credentials())
        self._transport = Transport(
            http, url, credentials=source, realms=frozenset(realms), retry=retry, clock=clock, front=front
        )
        self._where = Where(namespace)
        self._chunk_size = chunk_size
        self._has_referrers: bool | None = None
        self.url = url

    @property
    def origin(self) -> Origin:
        """Places of one origin can mount each other's blobs."""
        return self._transport.home

    def __repr__(self) -> str:
        return f"RemoteRegistry({self.url!r})"

    async def aclose(self) -> None:
        if self._owned is not None:
            await self._owned.aclose()

    async def sign_in(self, call: Call) -> None:
        """Asks the registry to know the credentials, and for nothing else. Raises Unauthorized, Unavailable."""
        await self._transport.send(call, Ask("GET", "/v2/"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
