"""Who we are to a registry, and where that may be said."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from oci_wire.errors import RealmUndeclared, Unsupported

# Registries whose token service is known to stand on another host.
KNOWN_REALMS = {
    "registry-1.docker.io": "auth.docker.io",
    "docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name with a password (or a robot's token), or a refresh token, or a bearer token to send as it is.

    Nothing of it shows in ``repr``."""

    username: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.refresh_token or self.bearer)

    @property
    def basic(self) -> str:
        """The Authorization value of RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


Source = Callable[[], Credentials]  # asked at need: what a file holds may change


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: credentials never leave theirs (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        return cls(url.scheme, url.host.lower().rstrip("."), url.port or _PORTS.get(url.scheme, 0))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_local(self) -> bool:
        """Whether this is this machine or its private network, by name or address."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")
        return not address.is_global


def step(home: Origin, base: httpx.URL, location: str) -> httpx.URL:
    """The URL that an answer leads to, without user name or fragment.

    A registry may lead elsewhere (a storage host), but not from https to http, and not from the open network to an
    address of ours. Raises Unsupported."""
    try:
        url = base.join(location).copy_with(username=None, password=None, fragment=None)
    except (httpx.InvalidURL, ValueError) as error:
        raise Unsupported(f"{home} leads to {location[:200]!r}, which is no URL") from error
    there = Origin.of(url)
    if url.scheme not in _PORTS or not there.host:
        raise Unsupported(f"{home} leads to {location[:200]!r}, which is not http")
    if home.scheme == "https" and url.scheme != "https":
        raise Unsupported(f"{home} leads from https to {there}: not followed")
    if there.is_local and there.host != home.host and not home.is_local:
        raise Unsupported(f"{home} leads to the private address {there}: not followed")
    return url


def realm_url(home: Origin, realm: str, trusted: frozenset[str], with_credentials: bool) -> httpx.URL:
    """Where tokens are had, checked. A registry names its token service itself, so a bad one could name a collector of
    passwords (CVE-2020-15157, CVE-2026-33540): credentials go to the registry's own host or to a trusted one only.

    Without credentials any https realm will do. Raises Unsupported, RealmUndeclared."""
    url = step(home, httpx.URL(str(home)), realm)
    there = Origin.of(url)
    if there.host == home.host:
        return url
    if url.scheme != "https" and not (home.is_local and there.is_local):
        raise Unsupported(f"{home} has its tokens from {there}, without TLS: not asked")
    if with_credentials and there.host not in trusted and KNOWN_REALMS.get(home.host) != there.host:
        raise RealmUndeclared(
            f"{home} wants credentials sent to another host, {there.host}; if that is right, add it to the realms "
            "that this registry may use"
        )
    return url
