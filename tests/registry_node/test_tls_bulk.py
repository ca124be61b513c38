"""TLS bytes on a thread, against OpenSSL's own client: all of them, in order, and what is left goes back to the loop."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry_node.tls_bulk import TlsBulk
from registry_node.tls_certificate import Certificates
from tests.certificates import Authority

MIB = 1024 * 1024


@dataclass
class Pair:
    """Both ends of one connection: ``bulk`` is the node's, ``client`` the other one. ``rest``: what went back."""

    bulk: TlsBulk
    ours: socket.socket
    client: ssl.SSLSocket
    incoming: ssl.MemoryBIO
    rest: list[bytes] = field(default_factory=list)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    authority = Authority(tmp_path)
    files = authority.issue(tmp_path / "node")
    context = Certificates(Path(files["certificate"]), Path(files["key"])).context
    trusted = authority.trusted()
    trusted.maximum_version = request.param
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    node = context.wrap_bio(incoming, outgoing, server_side=True)
    ours, theirs = socket.socketpair()
    client = trusted.wrap_socket(theirs, server_hostname="localhost", do_handshake_on_connect=False)
    shaking = threading.Thread(target=client.do_handshake)
    shaking.start()
    while True:
        try:
            node.do_handshake()
            break
        except ssl.SSLWantReadError:
            ours.sendall(outgoing.read())
            incoming.write(ours.recv(65536))
    ours.sendall(outgoing.read())
    shaking.join()
    ours.setblocking(False)
    rest = list[bytes]()
    bulk = TlsBulk(ours.fileno(), node, incoming, outgoing, lambda left: rest.append(bytes(left)))
    with ours, client:
        client.settimeout(20)
        yield Pair(bulk, ours, client, incoming, rest)


def in_background(work: object, *given: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=given)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_all_bytes_in_order(pair: Pair) -> None:
    content = os.urandom(5 * MIB + 12345)
    sending = in_background(pair.client.sendall, content)
    received, view = bytearray(), memoryview(bytearray(100_003))
    while len(received) < len(content):
        received += view[: pair.bulk.recv_into(view, 20)]
    sending.join()
    assert received == content
    with pytest.raises(TimeoutError):
        pair.bulk.recv_into(view, 0)
    with pytest.raises(TimeoutError):
        pair.bulk.recv_into(view, 0.01)
    pair.bulk.close()
    assert pair.rest == [b""]


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_what_waits_in_memory_is_readable(pair: Pair) -> None:
    """A loop that waits for the descriptor would otherwise never learn of it."""
    assert not readable(pair.bulk.fileno())
    pair.client.sendall(b"a" * 1000)
    assert readable(pair.bulk.fileno())
    small = memoryview(bytearray(10))
    assert pair.bulk.recv_into(small, 1) == 10
    assert readable(pair.bulk.fileno())
    large = memoryview(bytearray(2000))
    assert pair.bulk.recv_into(large, 1) == 990
    assert not readable(pair.bulk.fileno())


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_client_that_leaves(pair: Pair, goodbye: bool) -> None:
    pair.client.sendall(b"last words")
    if goodbye:
        pair.client.settimeout(0.05)
        with pytest.raises(TimeoutError):  # nobody answers it
            pair.client.unwrap()
    else:
        pair.client.shutdown(socket.SHUT_RDWR)
    view = memoryview(bytearray(100))
    assert pair.bulk.recv_into(view, 5) == 10
    assert pair.bulk.recv_into(view, 5) == 0
    assert pair.bulk.recv_into(view, 5) == 0


def test_garbage_ends_it(pair: Pair) -> None:
    pair.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert pair.bulk.recv_into(memoryview(bytearray(100)), 5) == 0


def test_a_file_to_a_reader(pair: Pair, tmp_path: Path) -> None:
    path, content = tmp_path / "file", os.urandom(5 * MIB + 777)
    path.write_bytes(content)
    received = bytearray()

    def read() -> None:
        while len(received) < len(content) - 1000:
            received.extend(pair.client.recv(65536))

    reading = in_background(read)
    with path.open("rb") as file:
        assert pair.bulk.send_file(file.fileno(), 1000, len(content) - 1000, 20) == len(content) - 1000
    reading.join()
    assert received == content[1000:]


def test_a_slow_reader_gets_the_rest_later(pair: Pair, tmp_path: Path) -> None:
    path, content = tmp_path / "file", os.urandom(4 * MIB)
    path.write_bytes(content)
    received = bytearray()
    with path.open("rb") as file:
        sent = pair.bulk.send_file(file.fileno(), 0, len(content), 0)
        assert 0 < sent < len(content)
        assert pair.bulk.send_file(file.fileno(), sent, len(content) - sent, 0) == 0
        pair.incoming.write(b"the next request")
        assert not select.select([], [pair.bulk.fileno()], [], 0)[1]  # it waits for the socket, whatever came
        while len(received) < MIB // 8:
            received += pair.client.recv(16384)
        sent += pair.bulk.send_file(file.fileno(), sent, len(content) - sent, 0.01)
    pair.bulk.close()
    (rest,) = pair.rest
    pair.ours.setblocking(True)
    sending = in_background(pair.ours.sendall, rest)
    while len(received) < sent:
        received += pair.client.recv(65536)
    sending.join()
    assert content[:sent] == received


def test_a_file_that_is_too_short(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    with path.open("rb") as file, pytest.raises(EOFError, match="24 bytes"):
        pair.bulk.send_file(file.fileno(), 0, 1024, 5)


def test_a_reader_that_is_gone(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * MIB))
    pair.client.close()
    with path.open("rb") as file, pytest.raises(OSError, match=r"Broken pipe|reset"):
        pair.bulk.send_file(file.fileno(), 0, 4 * MIB, 5)
