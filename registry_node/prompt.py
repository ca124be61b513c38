"""The short way of a read: a manifest, or a small blob, answered at once, on the event loop, without a coroutine.

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
_Target = tuple[str, str, str | None, Endpoint]
_INLINE = 256 * 1024  # bytes of the largest blob that is read here, on the event loop
_RENDERED_BYTES = 64 * 1024 * 1024
# Headers that change nothing about this answer; any other one takes the long way.
_PLAIN = frozenset((
    *(b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection", b"docker-upload-uuid"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-server"),
    *(b"forwarded", b"x-real-ip", b"x-meta-source-client", b"traceparent", b"cookie"),
))  # fmt: skip


class Reads(Protocol):
    """What a registry can tell without waiting (registry_node.storage.reads)."""

    def resolve(self, repository: str, reference: str) -> Descriptor: ...

    def body(self, digest: Digest) -> bytes: ...

    def blob(self, repository: str, digest: Digest) -> Descriptor: ...

    def content(self, found: Descriptor) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A whole answer but its request id. ``lines``: the headers as they are sent; ``who``: for the log."""

    headers: tuple[Header, ...]
    lines: bytes
    body: bytes
    handler: str
    who: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """A 200 as it is sent: header lines (without the last, empty one) and body."""

    lines: bytes
    body: bytes


class Prompt:
    """Answers what it can. Not safe for several threads: it belongs to one event loop."""

    def __init__(self, reads: Reads, access: Access) -> None:
        self._reads, self._access = reads, access
        self._routes: OrderedDict[bytes, _Target | None] = OrderedDict()
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
        repository, reference, tag, endpoint = route
        caller = self._access.known((authorization or b"").decode("latin-1"))
        if hosts != 1 or caller is None or not caller.may_pull_at_once(repository, tag):
            return None
        try:
            rendered = (self._blob if endpoint is Endpoint.BLOB else self._manifest)(repository, reference)
        except RegistryError:
            return None
        if rendered is None:
            return None
        return Rendered(rendered.headers, rendered.lines, rendered.body, rendered.handler, caller.who.name)

    def _route(self, path: bytes) -> _Target | None:
        """Repository, reference, its tag, and what it names."""
        try:
            return self._routes[path]
        except KeyError:
            pass
        found = None
        try:
            route = routes.parse(path.decode("latin-1"))
        except RegistryError:
            route = None
        if route is not None and route.endpoint in (Endpoint.MANIFEST, Endpoint.BLOB):
            tag = None if looks_like_digest(route.target) or route.endpoint is Endpoint.BLOB else route.target
            found = (route.repository, route.target, tag, route.endpoint)
        self._routes[path] = found
        if len(self._routes) > _ROUTES:
            self._routes.popitem(last=False)
        return found

    def _manifest(self, repository: str, reference: str) -> Rendered:
        found = self._reads.resolve(repository, reference)
        return self._rendered.get((found.digest, found.media_type)) or self._render(found)

    def _blob(self, repository: str, reference: str) -> Rendered | None:
        found = self._reads.blob(repository, Digest.parse(reference))
        content = self._reads.content(found) if found.size <= _INLINE else None
        return None if content is None else _rendered(found, content, (b"accept-ranges", b"bytes"), handler="blob")

    def _render(self, found: Descriptor) -> Rendered:
        content = self._reads.body(found.digest)
        rendered = self._rendered[found.digest, found.media_type] = _rendered(found, content, handler="manifest")
        self._bytes += len(content)
        while self._bytes > _RENDERED_BYTES:
            self._bytes -= len(self._rendered.popitem(last=False)[1].body)
        return rendered


def _rendered(found: Descriptor, content: bytes, *more: Header, handler: str) -> Rendered:
    digest = str(found.digest).encode()
    headers = (
        (b"content-type", found.media_type.encode("latin-1")),
        (b"content-length", str(len(content)).encode()),
        (b"docker-content-digest", digest),
        (b"etag", b'"' + digest + b'"'),
        *more,
        (b"docker-distribution-api-version", b"registry/2.0"),
    )
    return Rendered(headers, b"".join(b"%b: %b\r\n" % header for header in headers), content, handler)
