"""A plain connection that stays open, so that the client costs as little as it can: httpx takes longer than some answers."""

from __future__ import annotations

import socket
from types import TracebackType

from bench.peers import Peer


class Connection:
    """One request at a time. Every answer has a Content-Length."""

    def __init__(self, peer: Peer) -> None:
        name, _, port = peer.host.partition(":")
        self._socket = socket.create_connection((name, int(port)), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = peer.host

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(
        self, line: str, headers: dict[str, str], body: bytes = b"", *, expected: bytes = b"200"
    ) -> tuple[dict[bytes, bytes], bytes]:
        """Headers (names in lower case) and body of an answer with the ``expected`` status. ``line``: without HTTP/1.1."""
        fields = {"Host": self._host, "Content-Length": str(len(body)), **headers}
        head = "\r\n".join([f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""])
        self._socket.sendall(head.encode() + body)
        answer = self._received(b"")
        while b"\r\n\r\n" not in answer:
            answer = self._received(answer)
        head_lines, _, content = answer.partition(b"\r\n\r\n")
        status, *rows = head_lines.split(b"\r\n")
        if status.split(b" ", 2)[1] != expected:
            raise SystemExit(f"bench: {line}: {answer[:400].decode()}")
        fields_of = {name.lower(): value.strip() for name, _, value in (row.partition(b":") for row in rows)}
        pieces, left = [content], int(fields_of.get(b"content-length", 0)) - len(content)
        while left > 0:
            pieces.append(self._received(b""))
            left -= len(pieces[-1])
        return fields_of, b"".join(pieces)

    def _received(self, before: bytes) -> bytes:
        piece = self._socket.recv(1024 * 1024)
        if not piece:
            raise SystemExit(f"bench: the connection ended after {before[:200]!r}")
        return before + piece
