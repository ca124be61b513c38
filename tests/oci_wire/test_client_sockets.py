"""Sockets of the client at their edges: resets, drips within a TLS record, leftovers behind an answer, TLS within TLS."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import ssl
import struct
import termios
from pathlib import Path

import httpcore
import pytest

from oci_wire.client import long_bodies
from oci_wire.client.addresses import Reach
from oci_wire.client.sockets import SocketStream, connect
from tests.certificates import Authority
from tests.oci_wire.test_client_connections import (
    CALL,
    DIGEST,
    LAYER,
    Counted,
    Serve,
    _on_threads,
    certified,
    listening,
    plain,
    registry,
    serving,
)

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


async def _acknowledged(connection: socket.socket) -> None:
    """All that was sent is with the other side."""
    async with asyncio.timeout(10):
        while struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:
            await asyncio.sleep(0.01)


def resetting(first: bytes, after: Serve) -> Serve:
    """The first connection sends these bytes of the layer, and resets; ``after`` serves the others."""
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served > 1:
            await after(reader, writer)
            return
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LAYER) + first)
        await writer.drain()
        connection = writer.get_extra_info("socket")
        await _acknowledged(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    return serve


async def test_what_a_sink_took_before_a_reset_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_bodies, "_PAUSE", 5.0)  # the reset comes within the slice
    monkeypatch.setattr(long_bodies, "_SLICE", 30.0)
    async with plain(resetting(LAYER[:1_500_000], serving(LAYER))) as remote:
        assert await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False)) == LAYER


def dripping(context: ssl.SSLContext, content: bytes) -> Serve:
    """One TLS record, a byte at a time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        writer.write(outgoing.read())
        tls.write(content)
        for byte in outgoing.read():
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
        await reader.read()
        writer.close()

    return serve


async def test_a_record_that_drips_holds_no_thread_and_comes_whole_later(authority: Authority, tmp_path: Path) -> None:
    content, room = os.urandom(400), bytearray(1000)
    async with listening(dripping(certified(authority, tmp_path / "node"), content)) as port:
        stream = await connect("127.0.0.1", port, 5.0, None)
        try:
            await stream.start_tls(authority.trusted(), "localhost", 5.0)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(stream.receive_into, memoryview(room), 0.05)
            count = await asyncio.to_thread(stream.receive_into, memoryview(room), 60.0)
            assert room[:count] == content
        finally:
            stream.drop()


async def test_bytes_behind_an_answer_over_tls_are_not_the_next_one(authority: Authority, tmp_path: Path) -> None:
    """They came in its last record, so that the socket itself is silent."""
    wrong = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    served = Counted(serving(LAYER + wrong, LAYER + wrong))
    async with listening(served, certified(authority, tmp_path / "node")) as port:
        url = f"https://localhost:{port}"
        async with registry(url, Reach("localhost"), authority.trusted()) as remote:
            for _ in range(2):
                assert await _on_threads(await remote.open_blob(CALL, "a/b", DIGEST, verify=False)) == LAYER
    assert served.made == 2


async def test_only_a_kept_connection_has_its_tls_already(authority: Authority, tmp_path: Path) -> None:
    async with listening(serving(LAYER), certified(authority, tmp_path / "node")) as port:
        kept = list[SocketStream]()
        stream = await connect("127.0.0.1", port, 5.0, None, kept.append)
        context = authority.trusted()
        await stream.start_tls(context, "localhost", 5.0)
        stream.answered()
        await stream.aclose()
        assert await kept[0].start_tls(context, "localhost", 5.0) is kept[0]
        kept[0].drop()

        stream = await connect("127.0.0.1", port, 5.0, None)
        await stream.start_tls(context, "localhost", 5.0)
        with pytest.raises(httpcore.ConnectError, match="TLS within TLS"):
            await stream.start_tls(context, "registry.test", 5.0)
        assert stream.get_extra_info("socket").fileno() < 0
