"""Large answers over TLS leave on threads: whole, in order, and neither slow nor vanished readers hold one."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from registry_node.front import front_of
from registry_node.settings import Limits
from registry_node.tls_certificate import Certificates
from registry_node.tls_connection import tls_front_of
from tests.certificates import Authority
from tests.registry_node.test_front import not_recorded, nothing_at_once, request, served

MIB = 1024 * 1024
SIZE = 24 * MIB + 4321
GET = request(b"GET /file HTTP/1.1")


class Sending:
    """An app that answers with a file. ``ended``: how each answer did."""

    def __init__(self, path: Path, count: int = SIZE) -> None:
        self.path, self.count, self.ended = path, count, asyncio.Queue[str]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", str(self.count).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        try:
            with self.path.open("rb") as file:
                await send({"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": self.count})
        except (OSError, EOFError) as error:
            self.ended.put_nowait(type(error).__name__)
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        else:
            self.ended.put_nowait("sent")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    content = os.urandom(SIZE)
    (tmp_path / "file").write_bytes(content)
    return content


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def front(tmp_path: Path, authority: Authority) -> Callable[..., Any]:
    """With one thread."""
    pair = authority.issue(tmp_path / "node")
    certificates = Certificates(Path(pair["certificate"]), Path(pair["key"]))
    return tls_front_of(front_of(nothing_at_once, Limits(download_threads=1), not_recorded), certificates, 10.0)


@asynccontextmanager
async def asking(port: int, trusted: ssl.SSLContext) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has asked for the file and reads nothing beyond 64 KiB unless told to."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusted, server_hostname="localhost", limit=65536
    )
    writer.write(GET)
    yield reader
    writer.transport.abort()


async def whole(reader: asyncio.StreamReader, content: bytes) -> None:
    async with asyncio.timeout(60):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(content)) == content


async def test_one_after_the_other_on_a_connection(
    tmp_path: Path, front: Callable[..., Any], authority: Authority, content: bytes
) -> None:
    """The second and third request have come while the first answer is on its way."""
    async with served(Sending(tmp_path / "file"), front) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=authority.trusted(), server_hostname="localhost"
        )
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GET + GET)
        async with asyncio.timeout(60):
            assert await reader.readexactly(SIZE) == content
        await whole(reader, content)
        await whole(reader, content)
        writer.close()


async def test_readers_that_stand_still_hold_no_thread(
    tmp_path: Path, front: Callable[..., Any], authority: Authority, content: bytes
) -> None:
    trusted = authority.trusted()
    async with (
        served(Sending(tmp_path / "file"), front) as port,
        asking(port, trusted) as slow,
        asking(port, trusted),
        asking(port, trusted),
    ):
        await asyncio.sleep(0.2)
        async with asking(port, trusted) as quick:
            await whole(quick, content)
        await whole(slow, content)  # it has lost nothing by waiting


async def test_a_reader_that_is_gone(
    tmp_path: Path, front: Callable[..., Any], authority: Authority, content: bytes
) -> None:
    app = Sending(tmp_path / "file")
    async with served(app, front) as port:
        async with asking(port, authority.trusted()) as reader:
            await reader.readexactly(MIB)
        async with asyncio.timeout(20):
            assert await app.ended.get() in ("ConnectionResetError", "BrokenPipeError")
        async with asking(port, authority.trusted()) as reader:
            await whole(reader, content)


async def test_a_file_that_is_too_short_is_no_whole_answer(
    tmp_path: Path, front: Callable[..., Any], authority: Authority, content: bytes
) -> None:
    app = Sending(tmp_path / "file", SIZE + 1)
    async with served(app, front) as port, asking(port, authority.trusted()) as reader:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await whole(reader, content + b"x")
        assert await app.ended.get() == "EOFError"


async def test_a_server_that_ends_cuts_what_is_on_its_way(
    tmp_path: Path, front: Callable[..., Any], authority: Authority, content: bytes
) -> None:
    """The thread is done with the connection before it goes."""
    app = Sending(tmp_path / "file")
    async with asyncio.timeout(30):
        async with served(app, front) as port:
            stack = asking(port, authority.trusted())
            reader = await stack.__aenter__()
            await reader.readexactly(MIB)
        assert await app.ended.get() == "cancelled"
        await stack.__aexit__(None, None, None)
