"""One request and its answer as ASGI: what the app receives and sends, on a connection of front.py."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import unquote

from oci_wire.errors import Unavailable
from registry_node.answer_lines import STATUS_LINES, lines_of
from registry_node.bulk import Bulk, Sink
from registry_node.forwarded import Origin, asked_of
from registry_node.framing import Body
from registry_node.heads import Head
from registry_node.intake import BodyTooSlow, Intake, Intakes
from registry_node.messages import ZERO_COPY, ClientGone, Message
from registry_node.storage.incoming import whole

HELD = 256 * 1024  # bytes of a body that wait for the app before reading pauses
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What a turn needs of the connection that it is on."""

    def write(self, content: bytes) -> None: ...
    def cut(self) -> None: ...
    def pace(self) -> None: ...
    def default_lines(self) -> bytes: ...
    async def writable(self) -> None: ...
    async def send_file(self, file: int, offset: int, count: int) -> None: ...
    def lend(self) -> tuple[Bulk, bytes]: ...
    def give_back(self, lent: Bulk, rest: bytes) -> None: ...


def scope_of(head: Head, path: bytes, query: bytes, origin: Origin) -> dict[str, Any]:
    """The ASGI scope of a request, without what the connection knows: ``server``, ``client``, ``extensions``."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": head.version,
        "scheme": origin.scheme,
        "root_path": "",
        "method": head.method,
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "headers": head.headers if origin.host is None else asked_of(head.headers, origin.host),
        "state": {},
    }


class Turn:
    """``keep_alive``: whether the connection may serve another request. ``complete``: the answer has been sent."""

    def __init__(
        self,
        front: Connection,
        scope: Message,
        body: Body,
        *,
        keep_alive: bool,
        expects: bool,
        done: Callable[[], None],
    ) -> None:
        self.scope, self.body, self.keep_alive = scope, body, keep_alive
        self._front, self._done = front, done
        self._waits_for_continue = expects and not body.complete
        self._arrived = bytearray()
        self._news = asyncio.Event()
        self._head_sent = False
        self.complete = self.disconnected = self.broken = False
        self._error: Exception | None = None
        self._left: int | None = None  # bytes of the answer still to send, None: chunked or until the end
        self._chunked = False

    async def run(self, app: Callable[..., Any]) -> None:
        """Lets the app answer. An answer that it does not finish cuts the connection: half is not taken for whole."""
        try:
            await app(self.scope, self.receive, self.send)
        finally:
            if not self.complete:
                self._front.cut()

    # The request's body

    def arrived(self, content: bytes) -> None:
        """Of the body, from the connection."""
        if content or self.body.complete:
            self._waits_for_continue = False
            if not self.complete:
                self._arrived += content
            self._news.set()

    def fail(self, error: Exception) -> bool:
        """The body cannot be read any further: whoever receives it gets this error, once. False: it is too late, the
        answer has begun."""
        if self._head_sent:
            return False
        self.broken, self.keep_alive, self._error = True, False, error
        self._news.set()
        return True

    @property
    def full(self) -> bool:
        return len(self._arrived) > HELD

    @property
    def waits(self) -> bool:
        """Whether more of the body is to come, and the client knows that it may send it."""
        return not (self.body.complete or self.broken or self._waits_for_continue or self._head_sent)

    def hung_up(self) -> None:
        self.disconnected = True
        self._news.set()

    def _continue(self) -> None:
        self._waits_for_continue = False
        self._front.write(CONTINUE)
        self._front.pace()

    async def receive(self) -> Message:
        """The ASGI receive: body, then ``http.disconnect`` once the client is gone or the answer complete. What came
        before the client left comes first. Raises what is wrong with the framing of the body."""
        if self._waits_for_continue and not self.disconnected:
            self._continue()
        if not (self.disconnected or self.complete or self.broken):
            await self._news.wait()
            self._news.clear()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self.complete or self.broken or (self.disconnected and not self._arrived):
            return {"type": "http.disconnect"}
        body, self._arrived = bytes(self._arrived), bytearray()
        self._front.pace()
        return {"type": "http.request", "body": body, "more_body": not self.body.complete}

    async def feed(self, intakes: Intakes, sink: Sink) -> None:
        """The ASGI extension BULK: gives what is left of the body to ``sink``, on a thread. Raises ClientGone once the
        sink has got what came, BodyTooSlow, RequestInvalid, Unavailable, and what the sink raises."""
        if self._waits_for_continue and not self.disconnected:
            self._continue()
        parsed, self._arrived = bytes(self._arrived), bytearray()
        try:
            if self.disconnected or self.broken:
                raise ClientGone
            lent, rest = self._front.lend()
        except (ClientGone, OSError) as error:
            if parsed and not self.broken:
                await whole(asyncio.to_thread(sink, memoryview(parsed)))
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise Unavailable("this node has no descriptor free for this body; try again") from None
            raise ClientGone from None
        intake = Intake(lent, self.body, parsed, rest, sink)
        try:
            await intakes.complete(intake)
        except BodyTooSlow:
            self.broken, self.keep_alive = True, False
            raise
        finally:
            if intake.broken:
                self.broken, self.keep_alive = True, False
            self._front.give_back(lent, intake.rest)
        if intake.gone:
            self.disconnected = True
            raise ClientGone

    # The answer

    async def send(self, message: Message) -> None:
        """The ASGI send. Waits while the client does not keep up; what is sent to nobody is dropped."""
        await self._front.writable()
        if self.disconnected:
            return
        if message["type"] == "http.response.start" and not self._head_sent:
            self._start(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._head_sent and not self.complete:
            self._content(message.get("body", b""), last=not message.get("more_body", False))
        elif message["type"] == ZERO_COPY and self._head_sent and not self.complete:
            await self._file(message)
        else:
            raise RuntimeError(f"{message['type']} has no place here")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        headers = [(name.lower(), value) for name, value in headers]
        given = dict(headers)
        if self._waits_for_continue:  # nobody knows whether that body will come
            self.keep_alive = False
        bodiless = self.scope["method"] == "HEAD" or status in (204, 304)
        self.keep_alive = self.keep_alive and b"close" not in given.get(b"connection", b"").lower()
        if bodiless:
            self._left = 0
        elif b"content-length" in given:
            self._left = int(given[b"content-length"])
        elif self.scope["http_version"] == "1.0":
            self.keep_alive = False  # the end of the connection is the end of the answer
        else:
            self._chunked = True
            headers.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive and b"connection" not in given:
            headers.append((b"connection", b"close"))
        self._bodiless, self._head_sent = bodiless, True
        self._front.write(STATUS_LINES[status] + self._front.default_lines() + lines_of(headers) + b"\r\n")

    def _content(self, body: bytes, *, last: bool) -> None:
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._front.write(framed + b"0\r\n\r\n" if last else framed)
        elif not self._bodiless:
            self.count(len(body))
            self._front.write(body)
        if last:
            self.end()

    async def _file(self, message: Message) -> None:
        """Raises OSError when the client is gone, EOFError when the file is too short."""
        offset, count = message.get("offset", 0), message["count"]
        if self._chunked:
            raise RuntimeError("a file is sent with its Content-Length")
        if not self._bodiless:
            self.count(count)
            await self._front.send_file(message["file"].fileno(), offset, count)
        if not message.get("more_body", False):
            self.end()

    def count(self, sent: int) -> None:
        """Keeps the answer to its Content-Length. Raises RuntimeError."""
        if self._left is None:
            return
        self._left -= sent
        if self._left < 0:
            raise RuntimeError("the answer is longer than its Content-Length")

    def end(self) -> None:
        """The answer is whole. Raises RuntimeError when it is not."""
        if self._left:
            raise RuntimeError(f"{self._left} bytes of the answer are missing")
        self.complete = True
        self._news.set()
        self._done()
