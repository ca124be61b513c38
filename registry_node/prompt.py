"""The short way of a read: a manifest by tag or digest, answered at once, on the event loop, without a coroutine.

Credential from memory, grants, one SELECT (so a tag is never stale), rendered bytes by digest (immutable). Whatever
is not plain here - wrong credentials, a missing grant, an unknown name, a condition - is None: the long way answers,
so there is one place where refusals are made. A contract test sends the same requests both ways.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from oci_wire import routes
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import RegistryError
from oci_wire.routes import Endpoint
from registry_node.access import Access

Header = tuple[bytes, bytes]
_ROUTES = 65536  # request targets remembered
_RENDERED_BYTES = 64 * 1024 * 1024
# Headers that change nothing about this answer; any other one takes the long way.
_PLAIN = frozenset((
    *(b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection", b"docker-upload-uuid"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"x-meta-source-client", b"traceparent", b"cookie"),
))  # fmt: skip


class Reads(Protocol):
    """What a registry can tell without waiting (registry_node.storage.reads)."""

    def resolve(self, repository: str, reference: str) -> Descriptor: ...

    def body(self, digest: Digest) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole answer but its request id. ``who``: for the log."""

    headers: tuple[Header, ...]
    body: bytes
    who: str = ""


class Prompt:
    """Answers what it can. Not safe for several threads: it belongs to one event loop."""

    def __init__(self, reads: Reads, access: Access) -> None:
        self._reads, self._access = reads, access
        self._routes: OrderedDict[bytes, tuple[str, str, str | None] | None] = OrderedDict()
        self._rendered: OrderedDict[tuple[Digest, str], Rendered] = OrderedDict()
        self._bytes = 0

    def answer(self, path: bytes, headers: Iterable[Header]) -> Rendered | None:
        """For a GET or HEAD without a query. ``path`` as it was sent."""
        route = self._route(path)
        if route is None:
            return None
        authorization: bytes | None = None
        hosts = 0
        for name, value in headers:
            if name == b"authorization" and authorization is None:
                authorization = value
            elif name not in _PLAIN:
                return None
            hosts += name == b"host"
        repository, reference, tag = route
        caller = self._access.known((authorization or b"").decode("latin-1"))
        if hosts != 1 or caller is None or not caller.may_pull(repository, tag):
            return None
        try:
            found = self._reads.resolve(repository, reference)
            rendered = self._rendered.get((found.digest, found.media_type)) or self._render(found)
        except RegistryError:
            return None
        return Rendered(rendered.headers, rendered.body, caller.who.name)

    def _route(self, path: bytes) -> tuple[str, str, str | None] | None:
        """Repository, reference and its tag."""
        try:
            return self._routes[path]
        except KeyError:
            pass
        found = None
        try:
            route = routes.parse(path.decode("latin-1"))
        except RegistryError:
            route = None
        if route is not None and route.endpoint is Endpoint.MANIFEST:
            tag = None if looks_like_digest(route.target) else route.target
            found = (route.repository, route.target, tag)
        self._routes[path] = found
        if len(self._routes) > _ROUTES:
            self._routes.popitem(last=False)
        return found

    def _render(self, found: Descriptor) -> Rendered:
        content, digest = self._reads.body(found.digest), str(found.digest).encode()
        headers = (
            (b"content-type", found.media_type.encode("latin-1")),
            (b"content-length", str(len(content)).encode()),
            (b"docker-content-digest", digest),
            (b"etag", b'"' + digest + b'"'),
            (b"docker-distribution-api-version", b"registry/2.0"),
        )
        rendered = self._rendered[found.digest, found.media_type] = Rendered(headers, content)
        self._bytes += len(content)
        while self._bytes > _RENDERED_BYTES:
            self._bytes -= len(self._rendered.popitem(last=False)[1].body)
        return rendered
