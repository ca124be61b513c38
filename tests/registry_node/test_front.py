"""The node's own HTTP front, over real sockets: limits, odd requests, the same answers as under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from oci_wire.digest import Digest
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from registry_node.connections import Connections
from registry_node.front import front_of
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.conftest import DEV, settings
from tests.registry_node.images import push_image

LIMITS = Limits(header_bytes=4096, head_seconds=0.2, idle_seconds=0.4)
HOST = b"Host: box.test\r\n"


@asynccontextmanager
async def served(app: Any, front: Callable[[Connections], asyncio.Protocol]) -> AsyncIterator[int]:
    """The port of a server in this loop."""
    connections = Connections(app, "tested")
    server = await asyncio.get_running_loop().create_server(lambda: front(connections), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await connections.end(1)


@asynccontextmanager
async def served_plainly(app: Any) -> AsyncIterator[int]:
    """The same under uvicorn, as any ASGI app."""
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server._serve([listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def fronted(app: App, limits: Limits = LIMITS) -> Callable[[Connections], asyncio.Protocol]:
    return front_of(app.at_once, limits, app.refused)


@pytest.fixture
async def port(app: App) -> AsyncIterator[int]:
    async with served(app, fronted(app)) as port:
        yield port


async def said(port: int, *pieces: bytes, end: bool = False) -> bytes:
    """All that the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if end:
            writer.write_eof()
    async with asyncio.timeout(10):
        content = await reader.read()
    writer.close()
    return content


def request(line: bytes, *more: bytes) -> bytes:
    return line + b"\r\n" + HOST + b"".join(each + b"\r\n" for each in more) + b"\r\n"


@pytest.mark.parametrize(
    "wire",
    [
        b"GET /healthz HTTP/1.1\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/3.7\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
        b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        b"NONSENSE\r\n\r\n",
        request(b"POST /v2/a/blobs/uploads/ HTTP/1.1", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        request(b"POST /v2/a/blobs/uploads/ HTTP/1.1", b"Content-Length: 3", b"Content-Length: 3"),
        request(b"POST /v2/a/blobs/uploads/ HTTP/1.0", b"Transfer-Encoding: chunked"),
        request(b"GET /healthz HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"),
    ],
)
async def test_odd_requests_are_refused_and_the_connection_ends(port: int, wire: bytes) -> None:
    answer = await said(port, wire + request(b"GET /healthz HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("target", "status"), [(b"/healthz", b"200"), (b"", b"404"), (b"?x=1", b"404"), (b"/healthz#x", b"400")]
)
async def test_a_target_with_scheme_and_host_counts_for_the_host(port: int, target: bytes, status: bytes) -> None:
    line = b"GET HTTP://other.test:81" + target + b" HTTP/1.1"
    answer = await said(port, request(line, b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 " + status)
    asked = await said(port, request(b"GET http://other.test:81/v2/ HTTP/1.1", b"Connection: close"))
    assert b'realm="http://other.test:81/auth/token"' in asked


async def test_a_large_head(port: int) -> None:
    assert (await said(port, request(b"GET / HTTP/1.1", b"X: " + b"a" * 5000))).startswith(b"HTTP/1.1 431 ")
    assert (await said(port, b"GET / HTTP/1.1\r\nX: " + b"a" * 5000)).startswith(b"HTTP/1.1 431 ")


async def test_a_refused_head_has_no_body(port: int) -> None:
    answer = await said(port, request(b"HEAD /#x HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-length: 0" not in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_what_the_front_refuses_is_counted_and_logged(
    tmp_path: Path, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    app = build.app_of(settings(tmp_path), registry, log=True)
    async with served(app, fronted(app)) as port:
        answers = [
            await said(port, b"GET /healthz?account=secret HTTP/1.1\r\n\r\n"),
            await said(port, request(b"PUT /v2/a HTTP/1.1", b"X: " + b"a" * 5000)),
            await said(port, b"NONSENSE\r\n\r\n"),
        ]
    assert app.log is not None
    app.log.flush()
    logged = capsys.readouterr().err
    lines = [json.loads(line) for line in logged.splitlines()]
    seen = [(line["method"], line["path"], line["status"], line["remote"]) for line in lines]
    there = "127.0.0.1"
    assert seen == [("GET", "/healthz", 400, there), ("PUT", "/v2/a", 431, there), ("other", "", 400, there)]
    assert "secret" not in logged
    for line, answer in zip(lines, answers, strict=True):
        assert f"x-request-id: {line['request_id']}\r\n".encode() in answer
    text = app.metrics.render()[1].decode()
    assert 'registry_http_requests_total{code="400",handler="none",method="GET"} 1.0' in text
    assert 'registry_http_requests_total{code="431",handler="none",method="PUT"} 1.0' in text


async def test_slow_heads_and_idle_connections_end(port: int) -> None:
    assert await said(port, b"GET /hea") == b""
    assert await said(port) == b""
    assert (await said(port, request(b"GET /healthz HTTP/1.1"))).endswith(b"ok\n")


async def test_what_is_no_letter_is_told_at_once_that_this_is_http(app: App) -> None:
    async with served(app, fronted(app, Limits())) as port:  # no limit of time is near
        answer = await said(port, bytes.fromhex("160301008a"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"plain HTTP" in answer


async def test_http_1_0_and_head(port: int) -> None:
    answer = await said(port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"ok\n")
    answer = await said(port, request(b"HEAD /healthz HTTP/1.1", b"Connection: close"))
    assert b"content-length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_pipeline_with_bodies(port: int) -> None:
    post = request(b"POST /nowhere HTTP/1.1", b"Content-Length: 0")
    last = request(b"GET /readyz HTTP/1.1", b"Connection: close")
    answer = await said(port, b"\r\n".join([request(b"GET /healthz HTTP/1.1"), post, last]))
    assert [each[:3] for each in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


async def test_a_broken_chunked_body_is_refused_and_ends_the_connection(port: int) -> None:
    head = request(b"POST /auth/token HTTP/1.1", b"Transfer-Encoding: chunked")
    for pieces in (
        (head, b"zz\r\n"),
        (head + b"3\r\nabcd\r\n",),
        (head, b"3\r\nabc\r\n", b"-1\r\n", b"GET / HTTP/1.1\r\n"),
    ):
        answer = await said(port, *pieces)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close\r\n" in answer
        assert answer.endswith(b'"}]}')


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body, in pieces; /half promises more than it sends."""
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message["body"], message["more_body"]
    length = [(b"content-length", b"10")] if scope["path"] == "/half" else []
    await send({"type": "http.response.start", "status": 200, "headers": length})
    for start in range(0, len(content), 300_000):
        await send({"type": "http.response.body", "body": content[start : start + 300_000], "more_body": True})
    if scope["path"] != "/half":
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def nothing_at_once(*_: Any) -> None:
    return None


def not_recorded(*_: Any) -> bytes:
    return b"-"


async def test_bodies_in_and_out() -> None:
    """Larger than every buffer on the way, in both framings."""
    content = bytes(range(256)) * 40_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    async with (
        served(echo, front_of(nothing_at_once, Limits(), not_recorded)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        assert (await http.post("/", content=content)).content == content
        assert (await http.post("/", content=pieces())).content == content


async def test_what_came_before_a_client_left_is_received() -> None:
    """An app that was busy (a password to check) when the client left must not lose the bytes of an upload."""
    left, ended = asyncio.Event(), asyncio.Event()
    got: list[bytes] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await left.wait()
        while (message := await receive())["type"] == "http.request":
            got.append(message["body"])
        ended.set()

    async with served(late, front_of(nothing_at_once, Limits(), not_recorded)) as port:
        assert (
            await said(port, b"PATCH / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc", b"def", end=True) == b""
        )
        left.set()
        await asyncio.wait_for(ended.wait(), 10)
    assert b"".join(got) == b"abcdef"


async def test_a_half_answer_cuts_the_connection() -> None:
    async with served(echo, front_of(nothing_at_once, Limits(), not_recorded)) as port:
        with pytest.raises(httpx.RemoteProtocolError):
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.post(f"http://127.0.0.1:{port}/half", content=b"abc")


@pytest.mark.parametrize("plain", [False, True], ids=["front", "uvicorn's httptools"])
async def test_a_push_and_a_pull(tmp_path: Path, plain: bool) -> None:
    given = settings(tmp_path)
    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads, log=False)
        async with (
            served_plainly(app) if plain else served(app, fronted(app, Limits())) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=DEV, trust_env=False) as http,
        ):
            manifest = await push_image(http, "apps/api", "1.0", bytes(3_000_000))
            for reference in ("1.0", str(Digest.of(manifest))) * 2:
                answer = await http.get(f"/v2/apps/api/manifests/{reference}")
                assert (answer.status_code, answer.content) == (200, manifest)
                head = await http.head(f"/v2/apps/api/manifests/{reference}")
                assert head.content == b""
                changing = ("date", "x-request-id")
                assert [each for each in head.headers.items() if each[0] not in changing] == [
                    each for each in answer.headers.items() if each[0] not in changing
                ]
                assert head.headers["x-request-id"] != answer.headers["x-request-id"]
            layer = await http.get(f"/v2/apps/api/blobs/{Digest.of(bytes(3_000_000))}")
            assert layer.content == bytes(3_000_000)
            part = await http.get(layer.url, headers={"range": "bytes=1000000-2999998"})
            assert (part.status_code, len(part.content)) == (206, 1_999_999)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_file_that_is_too_short_cuts_the_connection(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (20_000 if whole else 10_000))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5119900")]})
        with path.open("rb") as file, contextlib.suppress(EOFError):
            part = {"file": file, "offset": 100, "count": 5_119_900}
            await send({"type": "http.response.zerocopysend", **part, "more_body": False})

    async with (
        served(app, front_of(nothing_at_once, Limits(), not_recorded)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        for _ in range(2):
            if whole:
                assert (await http.get("/")).content == path.read_bytes()[100:]
                continue
            with pytest.raises(httpx.TransportError):
                await http.get("/")
