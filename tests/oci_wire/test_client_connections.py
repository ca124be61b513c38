"""The connections of the client: where they may go, whom they trust, and long bodies read past the HTTP parser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.client import RemoteRegistry, kept
from oci_wire.client.addresses import CheckedTransport, Reach
from oci_wire.digest import Digest
from oci_wire.errors import DigestInvalid, Forbidden, TimedOut, Unreachable, Untrusted
from oci_wire.registry import BlobStream, ByteRange, Call
from oci_wire.streams import ForThreads
from tests.certificates import Authority

LAYER = os.urandom(3 * 1024 * 1024 + 17)
DIGEST = Digest.of(LAYER)
CALL = Call("tests")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def serving(*bodies: bytes, told: int = len(LAYER), hang: bool = False) -> Serve:
    """Each connection answers every request with the next body, under the same length, then ends."""
    left = iter(bodies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = next(left)
                start = int(head.split(b"bytes=")[1].split(b"-")[0]) if b"ange: bytes=" in head else 0
                status = b"206 Partial Content" if start else b"200 OK"
                part = b"Content-Range: bytes %d-%d/%d\r\n" % (start, told - 1, told) if start else b""
                writer.write(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, part, told - start))
                writer.write(body[start:])
                await writer.drain()
                if hang:
                    await asyncio.sleep(30)
                if len(body) < told:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return serve


@asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def registry(url: str, reach: Reach, context: ssl.SSLContext | None = None, seconds: float = 5.0) -> RemoteRegistry:
    http = httpx.AsyncClient(transport=CheckedTransport(reach, context), timeout=seconds)
    return RemoteRegistry(url, client=http, owned=True)


@asynccontextmanager
async def plain(serve: Serve, seconds: float = 5.0) -> AsyncIterator[RemoteRegistry]:
    """A registry on loopback, declared by its address."""
    async with listening(serve) as port, registry(f"http://127.0.0.1:{port}", Reach("127.0.0.1"), None, seconds) as it:
        yield it


async def test_a_long_body_comes_whole_and_again_on_a_new_connection() -> None:
    async with plain(serving(LAYER, LAYER)) as remote:
        for _ in range(2):
            assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER


async def test_a_long_body_that_is_cut_goes_on() -> None:
    async with plain(serving(LAYER[:1_500_000], LAYER)) as remote:
        assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER


async def test_a_long_body_with_a_wrong_byte_never_ends() -> None:
    wrong = LAYER[:-1] + bytes([LAYER[-1] ^ 1])
    async with listening(serving(wrong)) as port, registry(f"http://127.0.0.1:{port}", Reach("127.0.0.1")) as remote:
        with pytest.raises(DigestInvalid):
            await (await remote.open_blob(CALL, "a/b", DIGEST)).read()


async def test_bytes_behind_a_long_body_are_not_part_of_it() -> None:
    async with plain(serving(LAYER + b"HTTP/1.1 200 OK\r\n\r\nmore", LAYER)) as remote:
        for _ in range(2):
            assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER


async def test_a_long_body_that_stands_still_is_given_up() -> None:
    parts = [LAYER[: 400_000 + at * 10] for at in range(12)]
    async with plain(serving(*parts, hang=True), seconds=0.1) as remote:
        with pytest.raises(TimedOut):
            await (await remote.open_blob(CALL, "a/b", DIGEST)).read()


class Counted:
    """Connections that were made, around what serves them."""

    def __init__(self, serve: Serve) -> None:
        self._serve, self.made = serve, 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        await self._serve(reader, writer)


async def test_one_connection_carries_one_long_body_after_the_other() -> None:
    served = Counted(serving(LAYER, LAYER, LAYER))
    async with plain(served) as remote:
        assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
        assert await (await remote.open_blob(CALL, "a/b", DIGEST, ByteRange(1_000_000))).read() == LAYER[1_000_000:]
        assert await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False)) == LAYER
    assert served.made == 1


async def test_a_body_that_was_left_takes_its_connection_along() -> None:
    served = Counted(serving(LAYER, LAYER))
    async with plain(served) as remote:
        async with await remote.open_blob(CALL, "a/b", DIGEST) as stream:
            await anext(stream.chunks)
        assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
    assert served.made == 2


@pytest.mark.parametrize("said", [b"Connection: close\r\n", b""])
async def test_a_connection_that_ends_meanwhile_is_not_used_again(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (said, len(LAYER)) + LAYER)
        writer.close()

    async with plain(serve) as remote:
        for _ in range(3):
            assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [100, len(LAYER)])
async def test_a_connection_that_ends_as_it_is_asked_again_costs_nobody_an_error(size: int) -> None:
    """It is idle, and closed only once the next request has come."""
    content, asked = LAYER[:size], 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + content)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
        writer.close()

    async with plain(serve) as remote:
        for _ in range(2):
            assert await (await remote.open_blob(CALL, "a/b", Digest.of(content))).read() == content
    assert asked == 3


async def _on_threads(stream: BlobStream) -> bytes:
    """All of it, as a thread takes it."""
    assert isinstance(stream.chunks, ForThreads) and stream.chunks.bulky
    came, counted, here = bytearray(), 0, threading.get_ident()

    def sink(piece: memoryview) -> None:
        assert threading.get_ident() != here
        came.extend(piece)

    async with stream, aclosing(stream.chunks.taken(sink, asyncio.to_thread)) as counts:
        async for count in counts:
            counted += count
            assert len(came) == counted
    return bytes(came)


@pytest.mark.parametrize("bodies", [(LAYER,), (LAYER[:1_500_000], LAYER), (LAYER[:10], LAYER[:700_000], LAYER)])
async def test_a_thread_takes_a_long_body_also_when_it_is_cut(bodies: tuple[bytes, ...]) -> None:
    async with plain(serving(*bodies)) as remote:
        assert await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False)) == LAYER


async def test_a_thread_takes_a_part_of_a_body_and_no_more() -> None:
    async with plain(serving(LAYER + b"more", LAYER)) as remote:
        for _ in range(2):
            stream = await remote.open_blob(CALL, "a/b", DIGEST, ByteRange(500_000))
            assert await _on_threads(stream) == LAYER[500_000:]


async def test_a_thread_is_not_kept_by_a_body_that_stands_still() -> None:
    parts = [LAYER[: 400_000 + at * 10] for at in range(12)]
    async with plain(serving(*parts, hang=True), seconds=0.1) as remote:
        with pytest.raises(TimedOut):
            await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False))


async def test_what_a_sink_raises_ends_it() -> None:
    class Full(Exception):
        pass

    def full(piece: memoryview) -> None:
        raise Full

    async with (
        plain(serving(LAYER)) as remote,
        await remote.open_blob(CALL, "a/b", DIGEST, verify=False) as stream,
    ):
        assert isinstance(stream.chunks, ForThreads)
        with pytest.raises(Full):
            async for _ in stream.chunks.taken(full, asyncio.to_thread):
                pass


async def test_tls_is_taken_by_threads_and_its_connection_used_again(authority: Authority, tmp_path: Path) -> None:
    served = Counted(serving(LAYER, LAYER, LAYER))
    async with listening(served, certified(authority, tmp_path / "node")) as port:
        url, context = f"https://localhost:{port}", authority.trusted()
        async with registry(url, Reach("localhost"), context) as remote:
            for _ in range(3):
                assert await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False)) == LAYER
    assert served.made == 1


async def test_idle_connections_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "KEPT_SECONDS", 0.1)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LAYER) + LAYER)
        assert await reader.read() == b""
        ended.set()
        writer.close()

    async with plain(serve) as remote:
        assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
        assert not ended.is_set()
        async with asyncio.timeout(5):
            await ended.wait()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def certified(authority: Authority, folder: Path) -> ssl.SSLContext:
    pair = authority.issue(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair["certificate"], pair["key"])
    return context


async def test_tls_carries_long_bodies(authority: Authority, tmp_path: Path) -> None:
    async with listening(serving(LAYER, LAYER), certified(authority, tmp_path / "node")) as port:
        url, context = f"https://localhost:{port}", authority.trusted()
        async with registry(url, Reach("localhost"), context) as remote:
            for _ in range(2):
                assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER


async def test_a_certificate_of_nobody_we_know_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    async with listening(serving(LAYER), certified(authority, tmp_path / "node")) as port:
        context = Authority(tmp_path / "other").trusted()
        async with registry(f"https://localhost:{port}", Reach("localhost"), context) as remote:
            with pytest.raises(Untrusted):
                await remote.open_blob(CALL, "a/b", DIGEST)


async def test_no_tls_on_the_other_side_is_no_answer(authority: Authority) -> None:
    async with listening(serving(LAYER)) as port:
        url = f"https://localhost:{port}"
        async with registry(url, Reach("localhost"), authority.trusted()) as remote:
            with pytest.raises(Unreachable):
                await remote.open_blob(CALL, "a/b", DIGEST)


def resolver(*answers: str) -> Callable[..., Any]:
    """A name server that gives another address each time; the last one from then on."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    return getaddrinfo


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "fd00::1"],
)
async def test_a_public_name_that_leads_to_a_special_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver(address))
    async with registry("http://registry.example", Reach("registry.example")) as remote:
        with pytest.raises(Forbidden):
            await remote.stat_blob(CALL, "a/b", DIGEST)


async def test_what_was_judged_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer of the name server would be this machine."""
    loop, connected = asyncio.get_running_loop(), list[Any]()

    async def sock_connect(_socket: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError("not really")

    monkeypatch.setattr(loop, "getaddrinfo", resolver("93.184.215.14", "127.0.0.1"))
    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    async with registry("http://registry.example", Reach("registry.example")) as remote:
        with pytest.raises(Unreachable):
            await remote.stat_blob(CALL, "a/b", DIGEST)
        with pytest.raises(Forbidden):
            await remote.stat_blob(CALL, "a/b", DIGEST)
    assert connected == [("93.184.215.14", 80)]


@pytest.mark.parametrize(
    ("declared", "private", "address", "allowed"),
    [
        ("10.0.0.5", False, "10.0.0.5", True),
        ("10.0.0.5", False, "10.0.0.6", False),
        ("registry.corp", True, "10.0.0.6", True),
        ("registry.corp", True, "127.0.0.1", False),
        ("registry.corp", True, "169.254.169.254", False),
        ("localhost", False, "127.0.0.1", True),
        ("127.0.0.1", False, "127.0.0.3", True),
        ("127.0.0.1", False, "169.254.169.254", False),
        ("registry.example", False, "93.184.215.14", True),
        ("registry.example", False, "224.0.0.1", False),
    ],
)
def test_reach(declared: str, private: bool, address: str, allowed: bool) -> None:
    reach = Reach(declared, private)
    if allowed:
        assert reach.judged("some.host", [address]) == [address]
    else:
        with pytest.raises(Forbidden):
            reach.judged("some.host", [address])
