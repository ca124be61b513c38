"""A connection as a worker thread uses it: waits, ends, and the bytes that stay for the event loop."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_node.bulk import PlainBulk

Pair = tuple[PlainBulk, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Ours and the client's end of one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    with client, server, contextlib.closing(PlainBulk(server.fileno())) as bulk:
        yield bulk, client


def test_bytes_that_are_there_and_bytes_that_are_not(pair: Pair) -> None:
    bulk, client = pair
    buffer = memoryview(bytearray(8))
    with pytest.raises(TimeoutError):
        bulk.recv_into(buffer, 0)
    client.sendall(b"hello, world")
    assert bulk.recv_into(buffer, 5) == 8
    assert bulk.recv_into(buffer[:2], 5) == 2
    assert bytes(buffer) == b"orllo, w"
    client.close()
    assert bulk.recv_into(buffer, 5) == 2
    assert bulk.recv_into(buffer, 5) == 0


def test_a_reset_is_an_end(pair: Pair) -> None:
    bulk, client = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    assert bulk.recv_into(memoryview(bytearray(8)), 5) == 0


def test_a_file(pair: Pair, tmp_path: Path) -> None:
    bulk, client = pair
    content = os.urandom(300_000)
    (tmp_path / "blob").write_bytes(content)
    with (tmp_path / "blob").open("rb") as file:
        sending = threading.Thread(target=bulk.send_file, args=(file.fileno(), 1000, 250_000, 60))
        sending.start()
        received = b""
        while len(received) < 250_000:
            received += client.recv(65536)
        sending.join(30)
        assert received == content[1000:251_000]
        with pytest.raises(EOFError):
            bulk.send_file(file.fileno(), 299_000, 2000, 60)


def test_a_client_that_takes_nothing(pair: Pair, tmp_path: Path) -> None:
    bulk, client = pair
    (tmp_path / "blob").write_bytes(bytes(64 * 1024 * 1024))
    with (tmp_path / "blob").open("rb") as file:
        sent = bulk.send_file(file.fileno(), 0, 64 * 1024 * 1024, 0.05)
        assert 0 < sent < 64 * 1024 * 1024
        client.close()
        with pytest.raises(OSError, match=r"reset|pipe"):
            bulk.send_file(file.fileno(), sent, 64 * 1024 * 1024 - sent, 5)
