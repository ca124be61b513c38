"""A small HTTP/1.1 server on loopback, in a thread of its own, that says exactly what a test wants said, byte for byte.

It keeps no rule that a test wants broken: an answer's ``deliver`` writes what it likes to the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

Deliver = Callable[[asyncio.StreamWriter, bytes, bytes], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Request:
    """``headers`` by lower-case name; ``path`` as it was sent, without its query."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


async def _whole(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    writer.write(head + body)
    await writer.drain()
    return True


@dataclass(frozen=True, slots=True)
class Reply:
    """``deliver`` gets the head and the body and says whether the connection goes on. The length is told unless a
    header says otherwise. ``fault``: the name of what was done to it on purpose."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    deliver: Deliver = _whole
    fault: str = ""

    def but(self, **changes: Any) -> Reply:
        return replace(self, **changes)

    def with_headers(self, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})

    def head(self) -> bytes:
        headers = {"connection": "keep-alive", **self.headers}
        if not {"content-length", "transfer-encoding"} & set(headers):
            headers["content-length"] = str(len(self.body))
        phrase = HTTPStatus(self.status).phrase
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} {phrase}\r\n{fields}\r\n".encode()


def refusal(status: int, code: str, message: str = "", **headers: str) -> Reply:
    """The error body of the distribution specification."""
    body = json.dumps({"errors": [{"code": code, "message": message or code.lower()}]}).encode()
    return Reply(status, {"content-type": "application/json"}, body).with_headers(**headers)


class Server:
    """``seen``: every request so far, in order; ``connections``: how many there were.

    ``answer`` runs in the server's thread."""

    def __init__(
        self,
        answer: Callable[[Request], Reply],
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answer, self._address, self._port, self._tls = answer, address, port, tls
        self.seen: list[Request] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"upstream {address}")

    def start(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise AssertionError("a server of the tests did not start")
        return self

    def close(self) -> None:
        """Cuts what goes on; nobody can connect any more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def host(self) -> str:
        return f"{self._address}:{self._port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}"

    def count(self, method: str, part: str = "") -> int:
        """Requests with this method and a path in which ``part`` stands."""
        return sum(each.method == method and part in each.path for each in self.seen)

    def lines(self) -> list[str]:
        return [each.line for each in self.seen]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        starting = asyncio.start_server(self._connected, self._address, self._port, ssl=self._tls)
        server = self._loop.run_until_complete(starting)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._one(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()  # what was written still goes out

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parsed(head)
        if length := int(request.headers.get("content-length", "0")):
            await reader.readexactly(length)
        self.seen.append(request)
        reply = self._answer(request)
        bodiless = request.method == "HEAD" or reply.status in (204, 304)
        goes_on = await reply.deliver(writer, reply.head(), b"" if bodiless else reply.body)
        await writer.drain()
        return goes_on and request.headers.get("connection", "").lower() != "close"


def _parsed(head: bytes) -> Request:
    first, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    pairs = (each.partition(":") for each in fields)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(method, unquote(path), dict(parse_qsl(query)), headers)
