"""How clients see a node that a declared proxy shows them by path (decision 0020).

Two headers say so, both set by the proxy and believed from declared proxies alone, as the others of its family
(forwarded.py). ``X-Forwarded-Prefix: /prod``: this node's paths stand below that one. ``X-Forwarded-Namespace: prod``:
its repositories are called ``prod/NAME``. The proxy takes either off the path of a request; what else names a repository
is translated here: queries on their way in, Location, Link, lists and challenges on their way out. Every right is asked
for by the node's own names, so whoever could forge these headers would mislead nobody but themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from oci_wire.auth import TokenScope
from oci_wire.errors import NameInvalid
from oci_wire.reference import check_repository
from oci_wire.routes import Endpoint, Route

PREFIX, NAMESPACE = b"x-forwarded-prefix", b"x-forwarded-namespace"
OUTSIDE = "towpath.outside"  # in the ASGI scope
_LONGEST = 200  # characters of either
_PREFIX = re.compile(r"(?:/[a-z0-9][a-z0-9._-]*)+")


@dataclass(frozen=True, slots=True)
class Outside:
    """``prefix`` begins with a slash, ``namespace`` does not; "" where the proxy adds nothing."""

    prefix: str = ""
    namespace: str = ""

    def name(self, repository: str) -> str:
        """What clients call one of this node's repositories."""
        return f"{self.namespace}/{repository}" if self.namespace else repository

    def inside(self, name: str) -> str | None:
        """This node's name of what clients call so; None: that is none of its repositories."""
        if not self.namespace:
            return name
        rest = name.removeprefix(f"{self.namespace}/")
        return rest if rest and rest != name else None

    def url(self, route: Route) -> str:
        """Path and query by which clients ask for this node's ``route``."""
        if not self.namespace:
            return f"{self.prefix}{route}"
        if route.endpoint in (Endpoint.BASE, Endpoint.CATALOG):
            return f"{self.prefix}/v2/{self.namespace}{str(route).removeprefix('/v2')}"
        return f"{self.prefix}{replace(route, repository=self.name(route.repository))}"

    def scopes(self, text: str) -> str:
        """Token scopes as clients must ask for them: ``repository:prod/apps/api:pull``."""
        if not self.namespace:
            return text
        return " ".join(_renamed(each, f"repository:{self.namespace}/") for each in text.split(" "))

    def scopes_inside(self, wanted: Iterable[TokenScope]) -> tuple[TokenScope, ...]:
        """What clients ask for, without what is none of this node's."""
        found = ((each, self.inside(each.name) if each.kind == "repository" else each.name) for each in wanted)
        return tuple(replace(each, name=name) for each, name in found if name is not None)


HERE = Outside()


def told(headers: Iterable[tuple[bytes, bytes]]) -> Outside:
    """What a declared proxy says. A value that cannot be read, or comes twice, counts as absent."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (PREFIX, NAMESPACE):
            found[name] = b"" if name in found else value
    if not found:
        return HERE
    prefix = found.get(PREFIX, b"").decode("latin-1")
    good = len(prefix) <= _LONGEST and _PREFIX.fullmatch(prefix)
    return Outside(prefix if good else "", _namespace(found.get(NAMESPACE, b"").decode("latin-1")))


def _namespace(text: str) -> str:
    try:
        return check_repository(text) if len(text) <= _LONGEST else ""
    except NameInvalid:
        return ""


def _renamed(scope: str, start: str) -> str:
    kind, colon, rest = scope.partition(":")
    return f"{start}{rest}" if kind == "repository" and colon else scope
