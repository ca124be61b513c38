"""Large blobs over plain sockets, so that the client costs as little as it can."""

from __future__ import annotations

import os
import socket
import time
from hashlib import sha256
from typing import Protocol
from urllib.parse import urlsplit

import httpx

_PIECE = 1024 * 1024
_CHUNK = 64 * 1024  # of a chunked body, about what docker sends


class Registry(Protocol):
    host: str

    @property
    def headers(self) -> dict[str, str]: ...


def _connect(host: str) -> socket.socket:
    name, _, port = host.partition(":")
    return socket.create_connection((name, int(port)), timeout=120)


def _head(line: str, host: str, headers: dict[str, str]) -> bytes:
    fields = {"Host": host, "Connection": "close", **headers}
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""]).encode()


def download(registry: Registry, path: str, size: int) -> float:
    """Seconds to read a blob of ``size`` bytes."""
    buffer, received = bytearray(_PIECE), 0
    began = time.perf_counter()
    with _connect(registry.host) as connection:
        connection.sendall(_head(f"GET {path} HTTP/1.1", registry.host, registry.headers))
        while count := connection.recv_into(buffer):
            received += count
    seconds = time.perf_counter() - began
    if received < size:
        raise SystemExit(f"bench: {received} bytes of {size} came")
    return seconds


def upload(registry: Registry, size: int, *, chunked: bool) -> float:
    """Seconds from the first byte of a PUT of fresh content to its 201 (the session is opened before)."""
    content = os.urandom(_PIECE) * (size // _PIECE)
    digest = f"sha256:{sha256(content).hexdigest()}"
    base = f"http://{registry.host}"
    answer = httpx.post(f"{base}/v2/bench/r1/blobs/uploads/", headers=registry.headers, trust_env=False)
    url = urlsplit(answer.raise_for_status().headers["location"])
    target = f"{url.path}?{url.query + '&' if url.query else ''}digest={digest}"
    body_header = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(content))}
    headers = {**registry.headers, "Content-Type": "application/octet-stream", **body_header}
    view = memoryview(content)
    began = time.perf_counter()
    with _connect(registry.host) as connection:
        connection.sendall(_head(f"PUT {target} HTTP/1.1", registry.host, headers))
        if chunked:
            for start in range(0, len(content), _CHUNK):
                piece = view[start : start + _CHUNK]
                connection.sendmsg([b"%x\r\n" % len(piece)])
                connection.sendall(piece)
                connection.sendall(b"\r\n")
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendall(view)
        status = connection.recv(65536).split(b" ", 2)[1]
    seconds = time.perf_counter() - began
    if status != b"201":
        raise SystemExit(f"bench: the upload was answered with {status.decode()}")
    httpx.delete(f"{base}/v2/bench/r1/blobs/{digest}", headers=registry.headers, trust_env=False)
    return seconds
