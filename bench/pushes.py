"""Pushes of small things: for each image a config blob (POST, PUT) and a manifest with its tag. Over plain sockets, so
that the client costs as little as it can."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.parse import urlsplit

from bench.content import OCI_MANIFEST
from bench.peers import Peer

_CONFIG = "application/vnd.oci.image.config.v1+json"


class _Connection:
    """One that stays open. A request's answer has a Content-Length or no body."""

    def __init__(self, peer: Peer) -> None:
        name, _, port = peer.host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = peer.host

    def ask(self, line: str, headers: dict[str, str], body: bytes, expected: bytes) -> str:
        """The Location of an answer with the ``expected`` status."""
        fields = {"Host": self._host, "Content-Length": str(len(body)), **headers}
        head = "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""])
        self._socket.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self._socket.recv(65536)
            if not piece:
                raise SystemExit(f"bench: the connection ended after {answer[:200]!r}")
            answer += piece
        if answer.split(b" ", 2)[1] != expected:
            raise SystemExit(f"bench: {line}: {answer[:400].decode()}")
        named = [each for each in answer.split(b"\r\n") if each.lower().startswith(b"location:")]
        return named[0].partition(b":")[2].strip().decode() if named else ""

    def close(self) -> None:
        self._socket.close()


def rate(peer: Peer, repositories: list[str], connections: int, seconds: float) -> float:
    """Images a second, each of three requests: no content comes twice."""
    until = time.perf_counter() + seconds

    def work(number: int) -> int:
        connection = _Connection(peer)
        try:
            for count, name in enumerate(_round(repositories, number)):
                if time.perf_counter() >= until:
                    return count
                _push(connection, name, os.urandom(8).hex(), peer.headers(name))
        finally:
            connection.close()
        return 0

    with ThreadPoolExecutor(connections) as threads:
        began = time.perf_counter()
        done = sum(threads.map(work, range(connections)))
        return done / (time.perf_counter() - began)


def _round(names: list[str], first: int) -> Iterator[str]:
    return itertools.islice(itertools.cycle(names), first, None)


def _push(connection: _Connection, repository: str, mark: str, headers: dict[str, str]) -> None:
    config = json.dumps({"os": "linux", "architecture": "amd64", "mark": mark}).encode()
    digest = f"sha256:{sha256(config).hexdigest()}"
    session = connection.ask(f"POST /v2/{repository}/blobs/uploads/ HTTP/1.1", headers, b"", b"202")
    url = urlsplit(session)
    target = f"{url.path}?{url.query + '&' if url.query else ''}digest={digest}"
    octets = {**headers, "Content-Type": "application/octet-stream"}
    connection.ask(f"PUT {target} HTTP/1.1", octets, config, b"201")
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
            "layers": [],
            "annotations": {"made.for": "x" * 1400},
        }
    )
    line = f"PUT /v2/{repository}/manifests/v{mark} HTTP/1.1"
    connection.ask(line, {**headers, "Content-Type": OCI_MANIFEST}, body.encode(), b"201")
