"""Large blobs over plain sockets, so that the client costs as little as it can."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from urllib.parse import urlsplit

from bench.content import MIB
from bench.peers import Peer

_CHUNK = 64 * 1024  # of a chunked body, about what docker sends


def _connect(peer: Peer) -> socket.socket:
    name, _, port = peer.host.partition(":")
    plain = socket.create_connection((name, int(port)), timeout=120)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if peer.authority is None:
        return plain
    return ssl.create_default_context(cafile=str(peer.authority)).wrap_socket(plain, server_hostname=name)


def _head(line: str, peer: Peer, headers: dict[str, str]) -> bytes:
    fields = {"Host": peer.host, "Connection": "close", **headers}
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


def _repository(path: str) -> str:
    return path.removeprefix("/v2/").rsplit("/", 2)[0]


def download(peer: Peer, path: str, size: int) -> None:
    """Reads a blob of ``size`` bytes and drops it."""
    buffer, received = bytearray(MIB), 0
    with _connect(peer) as connection:
        connection.sendall(_head(f"GET {path} HTTP/1.1", peer, peer.headers(_repository(path))))
        while count := connection.recv_into(buffer):
            received += count
    if received < size:
        raise SystemExit(f"bench: {peer.name} sent {received} bytes of {size}")


def downloads(peer: Peer, path: str, size: int, at_once: int) -> float:
    """Seconds for so many of them at the same time."""
    with ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        for each in [threads.submit(download, peer, path, size) for _ in range(at_once)]:
            each.result()
        return time.perf_counter() - began


class Upload:
    """A PUT of fresh content: the session is opened and the content hashed before the clock runs."""

    def __init__(self, peer: Peer, megabytes: int, *, chunked: bool, repository: str = "bench/r1") -> None:
        self._peer, self._repository, self._chunked = peer, repository, chunked
        self._megabyte, self._count = os.urandom(MIB), megabytes
        hasher = sha256()
        for _ in range(megabytes):
            hasher.update(self._megabyte)
        self.digest = f"sha256:{hasher.hexdigest()}"
        with peer.client() as client:
            answer = client.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        url = urlsplit(answer.headers["location"])
        self._target = f"{url.path}?{url.query + '&' if url.query else ''}digest={self.digest}"

    def send(self, sent: Callable[[int], None] = lambda count: None) -> float:
        """Seconds from the first byte to its 201. ``sent`` is told of every megabyte."""
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {"Content-Length": str(self._count * MIB)}
        headers = {**self._peer.headers(self._repository), "Content-Type": "application/octet-stream", **framing}
        piece = _chunked(self._megabyte) if self._chunked else self._megabyte
        began = time.perf_counter()
        with _connect(self._peer) as connection:
            connection.sendall(_head(f"PUT {self._target} HTTP/1.1", self._peer, headers))
            for _ in range(self._count):
                connection.sendall(piece)
                sent(MIB)
            if self._chunked:
                connection.sendall(b"0\r\n\r\n")
            status = connection.recv(65536).split(b" ", 2)[1]
        seconds = time.perf_counter() - began
        if status != b"201":
            raise SystemExit(f"bench: {self._peer.name} answered the upload with {status.decode()}")
        return seconds

    def forget(self) -> None:
        """Deletes the blob, frees its disk, and lets the disk come to rest."""
        with self._peer.client() as client:
            client.delete(f"/v2/{self._repository}/blobs/{self.digest}")
        self._peer.purge(self.digest)
        os.sync()


def _chunked(content: bytes) -> bytes:
    """Framed in chunks (RFC 9112 section 7.1)."""
    pieces = (content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def upload(peer: Peer, megabytes: int, *, chunked: bool) -> float:
    """Seconds for one."""
    one = Upload(peer, megabytes, chunked=chunked)
    seconds = one.send()
    one.forget()
    return seconds


class Sent:
    """MiB that the uploads of ``uploading`` have sent."""

    def __init__(self) -> None:
        self._lock, self.bytes = threading.Lock(), 0
        self.began = time.perf_counter()

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count

    def rate(self) -> float:
        """MiB a second so far."""
        return self.bytes / MIB / (time.perf_counter() - self.began)


@contextmanager
def uploading(peer: Peer, at_once: int, megabytes: int) -> Iterator[Sent]:
    """So many uploads go on, one after the other each, until the block ends."""
    stop, done = threading.Event(), list[Upload]()

    def go_on() -> None:
        while not stop.is_set():
            one = Upload(peer, megabytes, chunked=False)
            one.send(sent.add)
            done.append(one)

    sent = Sent()
    with ThreadPoolExecutor(at_once) as threads:
        running = [threads.submit(go_on) for _ in range(at_once)]
        try:
            yield sent
        finally:
            stop.set()
            for each in running:
                each.result()
    for one in done:
        one.forget()
