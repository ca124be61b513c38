"""Which addresses are connected to. A name may lead anywhere, and elsewhere a second later (DNS rebinding): so the
name is looked up here, all that it leads to is judged, and what was judged is what is connected to.

Never: multicast, unspecified and link-local addresses (169.254.169.254 is where clouds keep a machine's secrets), unless
the registry's own URL names that very address. Private and loopback ones only where that was declared.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import cast

import httpcore
import httpx

from oci_wire.client.kept import KEPT_SECONDS, KeptConnections
from oci_wire.client.proxies import Choose, Ways, no_proxy
from oci_wire.client.sockets import connect
from oci_wire.errors import Forbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOKUP_SECONDS, _JUDGED_SECONDS, _JUDGED = 2.0, 60.0, 256
_V4_IN_V6 = ipaddress.ip_network("64:ff9b::/96")  # NAT64 (RFC 6052)


@dataclass(frozen=True, slots=True)
class Reach:
    """``host``: of the registry's declared URL. ``private``: whether names may lead to private addresses."""

    host: str
    private: bool = False

    def allows(self, host: str, address: Address) -> bool:
        """Whether a host of this name may be connected to at this address."""
        meant = _plain(address)
        declared = _literal(self.host)
        if declared is not None and _plain(declared) == meant:
            return True
        if meant.is_link_local or meant.is_multicast or meant.is_unspecified:
            return False
        if meant.is_loopback:
            return self.host == "localhost" or (declared is not None and declared.is_loopback)
        return meant.is_global or self.private

    def judged(self, host: str, found: Iterable[str]) -> list[str]:
        """The addresses to connect to. One that is not allowed condemns the name: an honest name has none.

        Raises Forbidden."""
        addresses = [ipaddress.ip_address(each.partition("%")[0]) for each in found]
        if not addresses:
            raise Forbidden(f"{host} has no address")
        for each in addresses:
            if not self.allows(host, each):
                raise Forbidden(f"{host} leads to {each}, which is private or special: not connected to")
        return [str(each) for each in addresses]


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _V4_IN_V6:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects within its reach only. ``kept``: connections that did so, and are idle."""

    def __init__(self, reach: Reach, kept: KeptConnections) -> None:
        self._reach, self._kept = reach, kept

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (idle := self._kept.take((host, port))) is not None:
            return idle
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                addresses = self._reach.judged(host, await _lookup(host, port))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not found in time") from error
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: {error}") from error
        failed: Exception | None = None
        for each in addresses:
            left = None if timeout is None else max(0.001, timeout - (time.monotonic() - began))
            try:
                return await connect(each, port, left, socket_options, partial(self._kept.put, (host, port)))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        assert failed is not None
        raise failed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _lookup(host: str, port: int) -> list[str]:
    """Every address of a name, in the resolver's order."""
    if _literal(host) is not None:
        return [host.strip("[]")]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Judge:
    """Of names that a proxy looks up: what is known here of them is judged here as well."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._until: dict[str, float] = {}

    async def __call__(self, host: str, port: int) -> None:
        """Raises Forbidden."""
        now = time.monotonic()
        if self._until.get(host, 0.0) > now:
            return
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                self._reach.judged(host, await _lookup(host, port))
        except (OSError, TimeoutError):
            pass  # only the proxy can tell
        if len(self._until) >= _JUDGED:
            self._until.clear()
        self._until[host] = now + _JUDGED_SECONDS


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's own, over such a network. ``connections``: at most so many at once; ``proxy``: whom to ask through
    (proxies.py)."""

    def __init__(
        self,
        reach: Reach,
        context: ssl.SSLContext | None = None,
        *,
        connections: int = 32,
        proxy: Choose = no_proxy,
    ) -> None:
        self._kept = KeptConnections(connections)
        direct = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=CheckedNetwork(reach, self._kept),
        )

        def to_proxy(host: str) -> CheckedNetwork:
            return CheckedNetwork(Reach(host, private=True), KeptConnections(0))  # a tunnel ends with what it led to

        # httpx asks its pool for answers and nothing else
        self._pool = cast(
            httpcore.AsyncConnectionPool,
            Ways(direct, proxy, judge=Judge(reach), network=to_proxy, context=context, connections=connections),
        )

    async def aclose(self) -> None:
        await super().aclose()
        self._kept.close()
