"""Who really asks, when a declared proxy asks for them: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239).

Believed from declared addresses alone. Lists are read from their right end, where each proxy adds what it saw itself:
what a client wrote before it reached the first of ours stays unread. What cannot be read counts as absent.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

Header = tuple[bytes, bytes]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ProxyHeaders = Literal["x-forwarded", "forwarded"]
_LONGEST = 64  # characters of an address with brackets and port
_HOPS = 16  # proxies in a row; more are not followed
_SCHEMES = {b"http": "http", b"https": "https"}
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PORT = re.compile(r":[0-9]{1,5}")


class Origin(NamedTuple):
    """Where a request comes from: the client's address, the scheme and the host it asked for (None: the Host header)."""

    address: str
    scheme: str
    host: bytes | None = None


class _Hop(NamedTuple):
    """What one proxy says of the request that it got."""

    address: bytes
    scheme: bytes = b""
    host: bytes = b""


class Proxies:
    """The declared proxies. ``headers``: which of the two families they set; the other one comes from clients, who may
    write what they like into it."""

    def __init__(self, networks: Iterable[Network] = (), headers: ProxyHeaders = "x-forwarded") -> None:
        self._networks, self._headers = tuple(networks), headers
        self.x_forwarded = headers == "x-forwarded"  # whether they set that family, also the part that outside.py reads
        self._known = lru_cache(maxsize=4096)(self._look_up)

    def declared(self, address: str) -> bool:
        return bool(self._networks) and self._known(address)[1]

    def origin(self, headers: Iterable[Header], direct: Origin) -> Origin:
        """``headers``: names in lower case; ``direct``: the proxy's own address and scheme. Never raises."""
        hops = _forwarded(headers) if self._headers == "forwarded" else _x_forwarded(headers)
        address, scheme, host = direct
        for hop in hops:
            found, ours = self._known(_bare(hop.address))
            scheme = _SCHEMES.get(hop.scheme.lower(), scheme)
            host = hop.host if _HOST.fullmatch(hop.host) else host
            address = found or address
            if not ours:
                break
        return Origin(address, scheme, host)

    def _look_up(self, text: str) -> tuple[str, bool]:
        """The address as it is usually written, and whether it is a proxy of ours. Empty: it is no address."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "", False
        address = getattr(address, "ipv4_mapped", None) or address
        return str(address), any(address in network for network in self._networks)


NO_PROXIES = Proxies()


def asked_of(headers: Iterable[Header], host: bytes) -> list[Header]:
    """The headers with the host that the client asked for in the place of the proxy's."""
    return [(name, host if name == b"host" else value) for name, value in headers]


def _x_forwarded(headers: Iterable[Header]) -> Iterator[_Hop]:
    """The nearest hop first. A shorter list belongs to the first proxies: the later ones only passed it on."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
            found[name] = found[name] + b"," + value if name in found else value
    addresses, schemes, hosts = (
        _from_the_right(found.get(b"x-forwarded-" + name)) for name in (b"for", b"proto", b"host")
    )
    for at in range(max(len(addresses), bool(schemes or hosts))):
        yield _Hop(_at(addresses, at), _at(schemes, at), _at(hosts, at))


def _at(values: list[bytes], position: int) -> bytes:
    return values[min(position, len(values) - 1)] if values else b""


def _forwarded(headers: Iterable[Header]) -> Iterator[_Hop]:
    """The nearest hop first. A comma always ends an element: no address, scheme or host holds one."""
    line = b",".join(value for name, value in headers if name == b"forwarded")
    for element in _from_the_right(line):
        pairs = (pair.partition(b"=") for pair in element.split(b";"))
        said = {name.strip().lower(): value.strip().removeprefix(b'"').removesuffix(b'"') for name, _, value in pairs}
        yield _Hop(said.get(b"for", b""), said.get(b"proto", b""), said.get(b"host", b""))


def _from_the_right(line: bytes | None) -> list[bytes]:
    return [each.strip(b" \t") for each in line.rsplit(b",", _HOPS)[: -_HOPS - 1 : -1]] if line else []


def _bare(node: bytes) -> str:
    """An address without brackets and port: ``[2001:db8::1]:80``, ``192.0.2.1:80``. Others as they are."""
    text = node.decode("latin-1")
    if len(text) > _LONGEST or "%" in text:  # a zone means nothing beyond its own link
        return ""
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        return inside if bracket and (not port or _PORT.fullmatch(port)) else ""
    before, colon, port = text.partition(":")
    return before if colon and _PORT.fullmatch(colon + port) else text
