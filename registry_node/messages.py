"""One HTTP request and one answer, as the handlers see them; ASGI is translated here and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from oci_wire.errors import RegistryError, RequestInvalid, SizeInvalid
from oci_wire.registry import BlobStream
from registry_node.bulk import Sink
from registry_node.growing import FilePart, InParts
from registry_node.outside import HERE, OUTSIDE, Outside

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ZERO_COPY = "http.response.zerocopysend"
# Our own ASGI extension: {"feed": Feed} takes what is left of the request's body off the event loop (turn.py).
BULK = "towpath.request.bulk"
Feed = Callable[[Sink], Awaitable[None]]
_BULKY = 256 * 1024  # bytes of a body that is worth a thread
_ONCE = frozenset(("host", "content-length", "transfer-encoding", "authorization", "content-type", "range"))


class ClientGone(Exception):
    """The client hung up before its request was complete: nobody waits for an answer."""


@dataclass(slots=True)
class Request:
    """``target`` is path and query as they were sent, undecoded. Header names are lower case; a header that came
    twice holds both values, joined by a comma."""

    method: str
    target: str
    headers: Mapping[str, str]
    scheme: str = "http"
    remote: str = ""
    receive: Receive | None = None
    complete: bool = False  # whether the whole body has been read
    received: int = 0  # bytes of body read so far
    repeated: str = ""  # a header that must not come twice, and did
    zero_copy: bool = False  # whether the server sends files itself (ASGI: http.response.zerocopysend)
    feed: Feed | None = None  # gives the body to a thread (BULK)
    outside: Outside = HERE  # what a proxy calls this node

    @classmethod
    def of(cls, scope: Mapping[str, Any], receive: Receive) -> Request:
        """From an ASGI connection scope; never raises."""
        path, query = scope.get("raw_path") or scope["path"].encode(), scope["query_string"]
        headers: dict[str, str] = {}
        repeated = ""
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name in headers:
                repeated = name if name in _ONCE else repeated
                value = f"{headers[name]},{value}"
            headers[name] = value
        target = (path + b"?" + query if query else path).decode("latin-1")
        remote = scope["client"][0] if scope.get("client") else ""
        scheme = scope.get("scheme", "http")
        found = cls(scope["method"], target, headers, scheme, remote, receive, repeated=repeated)
        extensions = scope.get("extensions") or {}
        found.zero_copy, found.feed = ZERO_COPY in extensions, extensions.get(BULK, {}).get("feed")
        found.outside = scope.get(OUTSIDE, HERE)
        return found

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def base_url(self) -> str:
        """Scheme, authority and prefix as this client sees us, e.g. ``http://127.0.0.1:5003``."""
        return f"{self.scheme}://{self.headers.get('host', '')}{self.outside.prefix}"

    @property
    def content_length(self) -> int | None:
        """Bytes announced; None when the body is chunked (or there is none). Raises RequestInvalid."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise RequestInvalid("Content-Length must be a whole number of bytes")
        return int(text)

    @property
    def has_body(self) -> bool:
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"

    @property
    def unread(self) -> bool:
        """Whether a body is still on its way. One that waits for ``100 Continue`` is not."""
        waiting = "expect" in self.headers and not self.received
        return self.has_body and not self.complete and not waiting

    def chunks(self, expected: int | None = None) -> Arriving:
        """The body as it arrives. ``expected``: the bytes that it must have."""
        return Arriving(self, expected)

    async def next_chunk(self) -> bytes:
        """More of the body, b"" at its end. Raises ClientGone."""
        while not self.complete:
            assert self.receive is not None
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.complete = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                self.received += len(chunk)
                return bytes(chunk)
        return b""

    async def hung_up(self) -> None:
        """Returns once the client has hung up, or sends what cannot be read. For the time of an answer: the request's
        body is dropped."""
        assert self.receive is not None
        with contextlib.suppress(RegistryError):
            while (await self.receive())["type"] != "http.disconnect":
                pass

    async def body(self, limit: int, too_large: type[RegistryError]) -> bytes:
        """The whole body; ``too_large`` is raised as soon as it has more than ``limit`` bytes, announced or not."""
        if (self.content_length or 0) > limit:
            raise too_large(f"at most {limit} bytes are taken here, not {self.content_length}")
        content = bytearray()
        async for chunk in self.chunks():
            content += chunk
            if len(content) > limit:
                raise too_large(f"at most {limit} bytes are taken here")
        return bytes(content)


class Arriving(AsyncIterator[bytes]):
    """A request's body: a stream, which a thread can take where the server lends its connection (``InBulk``)."""

    def __init__(self, request: Request, expected: int | None) -> None:
        self._request, self._expected = request, expected

    async def __anext__(self) -> bytes:
        chunk = await self._request.next_chunk()
        self._check_length()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    @property
    def bulky(self) -> bool:
        request = self._request
        if request.feed is None or request.complete or not request.has_body:
            return False
        return max(request.content_length or 0, request.received) > _BULKY

    async def feed(self, sink: Sink) -> None:
        """Raises ClientGone, SizeInvalid, RequestInvalid, and what ``sink`` raises."""
        request = self._request
        assert request.feed is not None

        def counted(view: memoryview) -> None:
            request.received += len(view)
            self._check_length()
            sink(view)

        await request.feed(counted)
        request.complete = True
        self._check_length()

    def _check_length(self) -> None:
        received, expected = self._request.received, self._expected
        if expected is not None and (received > expected or (self._request.complete and received < expected)):
            raise SizeInvalid(f"the body has {expected} bytes by its Content-Range, {received} came")


@dataclass(slots=True)
class Response:
    """``body``: bytes, an opened blob, or a stream. Header names are lower case; a tuple sends a header many times."""

    status: int
    headers: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    body: bytes | BlobStream | AsyncIterator[bytes] = b""
    zero_copy: bool = False  # whether the server sends files itself

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        pairs: list[tuple[bytes, bytes]] = []
        for name, value in self.headers.items():
            for each in (value,) if isinstance(value, str) else value:
                pairs.append((name.encode("latin-1"), each.encode("latin-1")))
        return pairs

    async def send(
        self,
        send: Send,
        *,
        head: bool,
        hung_up: Callable[[], Awaitable[None]],
        before_end: Awaitable[None] | None = None,
    ) -> int:
        """Sends it; gives back the bytes of body sent. ``head``: headers alone, whatever the body is. ``hung_up``
        returns when the client has; ``before_end`` is awaited when all has been sent but the end. Raises ClientGone."""
        bodiless = head or self.status in (204, 304)
        if isinstance(self.body, bytes) and self.status not in (204, 304):
            self.headers.setdefault("content-length", str(len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": self.raw_headers()})
        sent = 0
        if isinstance(self.body, bytes):
            body = b"" if bodiless else self.body
            sent = len(body)
            if before_end is None:
                await send({"type": "http.response.body", "body": body})
                return sent
            await send({"type": "http.response.body", "body": body, "more_body": True})
        elif not bodiless:
            sent = await self._from_file(self.body, send) or await self._stream(self.body, send, hung_up)
        if before_end is not None:
            await before_end
        await send({"type": "http.response.body", "body": b""})
        return sent

    async def _from_file(self, body: BlobStream | AsyncIterator[bytes], send: Send) -> int:
        """A plain file that the server sends itself; 0: it does not, stream it. Raises ClientGone."""
        if not (self.zero_copy and isinstance(body, BlobStream) and body.path and body.length):
            return 0
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(body.path.open("rb", buffering=0))
            except OSError:
                return 0  # the stream says what is wrong, in the port's words
            part = {"file": file, "offset": body.start, "count": body.length}
            try:
                await send({"type": ZERO_COPY, **part, "more_body": True})
            except (ConnectionError, TimeoutError):
                raise ClientGone from None
        return body.length

    async def _stream(
        self, body: BlobStream | AsyncIterator[bytes], send: Send, hung_up: Callable[[], Awaitable[None]]
    ) -> int:
        """A server swallows what it is sent for a client that is gone: without looking, a large blob would be read to
        its end for nobody."""
        chunks = body.chunks if isinstance(body, BlobStream) else body
        sent, gone = 0, asyncio.ensure_future(hung_up())
        parts: AsyncIterator[FilePart | bytes] = chunks
        if isinstance(chunks, InParts):  # what others fill, who may never go on
            parts = _unless_gone(chunks.parts() if self.zero_copy else chunks, gone)
        try:
            async for part in parts:
                if gone.done():
                    raise ClientGone
                sent += await _send_part(part, send)
        finally:
            gone.cancel()
        return sent

    async def aclose(self) -> None:
        """Frees what the body holds; safe to call twice."""
        if isinstance(self.body, bytes):
            return
        close = getattr(self.body, "aclose", None)
        if close is not None:
            await close()


async def _unless_gone(
    parts: AsyncIterator[FilePart | bytes], gone: asyncio.Future[None]
) -> AsyncIterator[FilePart | bytes]:
    """The same, while the client is there: also the wait for the next one ends. Raises ClientGone."""
    while True:
        following = asyncio.ensure_future(_next(parts))
        either: set[asyncio.Future[Any]] = {following, gone}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGone
        except BaseException:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            raise
        part = following.result()
        if part is None:
            return
        yield part


async def _next(parts: AsyncIterator[FilePart | bytes]) -> FilePart | bytes | None:
    return await anext(parts, None)


async def _send_part(part: FilePart | bytes, send: Send) -> int:
    """Raises ClientGone."""
    if isinstance(part, bytes):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        return len(part)
    where = {"file": part.file, "offset": part.offset, "count": part.count}
    try:
        await send({"type": ZERO_COPY, **where, "more_body": True})
    except (ConnectionError, TimeoutError):
        raise ClientGone from None
    return part.count
