"""Hosts that are asked through an HTTP proxy, as in networks from which nothing else leads out.

Through a proxy it is the proxy that connects, by a name that it looks up itself. So a name is judged here as far as can be
known here (``Reach``): an address in a URL, and all that our own name server says. What only the proxy can look up is left
to it: such networks often have no name server for the outside.

A proxy that wants TLS for itself (``https://``) is refused: the registry's TLS would have to go inside of it.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import httpcore

Choose = Callable[[str, str, int], str | None]  # scheme, host and port of a URL: its proxy's URL; None: none
_PORTS = {"http": 80, "https": 443}


def no_proxy(scheme: str, host: str, port: int) -> None:
    """Everybody is asked directly."""


def environment() -> Choose:
    """HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY as they are now, read as curl and docker do; never for this
    machine's own addresses. A socks proxy is passed over; any other one is given, for ``Ways`` to refuse what it cannot
    use."""
    known = getproxies_environment()

    def choose(scheme: str, host: str, port: int) -> str | None:
        found = known.get(scheme) or known.get("all")
        if not found or _is_loopback(host) or proxy_bypass(f"{host}:{port}", known):
            return None
        found = found if "://" in found else f"http://{found}"
        return None if urlsplit(found).scheme.startswith("socks") else found

    return choose if known else no_proxy


def always(url: str) -> Choose:
    """This one, for everybody."""
    return lambda scheme, host, port: url


def _checked(proxy: SplitResult) -> SplitResult:
    """Raises httpcore.ProxyError, which never shows the password."""
    if proxy.scheme == "http":
        return proxy
    raise httpcore.ProxyError(
        f"the proxy {proxy.scheme}://{proxy.hostname} cannot be used, only one of http://host:port: say so in HTTPS_PROXY; "
        "TLS to the registry goes through it all the same"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Ways:
    """Satisfies what httpx wants of a pool: a request goes ``direct`` or through a proxy. ``judge`` raises Forbidden for
    a host that must not be asked; ``network`` connects to the proxies, which somebody has declared."""

    def __init__(
        self,
        direct: httpcore.AsyncConnectionPool,
        choose: Choose,
        *,
        judge: Callable[[str, int], Awaitable[None]],
        network: Callable[[str], httpcore.AsyncNetworkBackend],
        context: ssl.SSLContext | None,
        connections: int,
    ) -> None:
        self._direct, self._choose, self._judge, self._network = direct, choose, judge, network
        self._context, self._connections = context, connections
        self._pools: dict[str, httpcore.AsyncHTTPProxy] = {}

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        scheme, host = request.url.scheme.decode(), request.url.host.decode()
        port = request.url.port or _PORTS.get(scheme, 443)
        proxy = self._choose(scheme, host, port)
        if proxy is None:
            return await self._direct.handle_async_request(request)
        await self._judge(host, port)
        return await self._through(proxy).handle_async_request(request)

    def _through(self, url: str) -> httpcore.AsyncHTTPProxy:
        found = self._pools.get(url)
        if found is None:
            parts = _checked(urlsplit(url))
            user = (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None
            found = self._pools[url] = httpcore.AsyncHTTPProxy(
                proxy_url=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
                proxy_auth=user,
                ssl_context=self._context,
                max_connections=self._connections,
                max_keepalive_connections=self._connections,
                keepalive_expiry=30.0,
                network_backend=self._network(parts.hostname or ""),
            )
        return found

    async def __aenter__(self) -> Ways:
        await self._direct.__aenter__()
        return self

    async def __aexit__(self, *told: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for each in (self._direct, *self._pools.values()):
            await each.aclose()
