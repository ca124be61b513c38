"""A name server of one's own: it says of every name what a test wants said at that moment (RFC 1035)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

_A, _IN = 1, 1
_ANSWER, _RECURSION = 0x8000, 0x0180  # QR; RD and RA


class NameServer:
    """On 127.0.0.1:53 of the namespace (tests/apart.py) in which it starts, whose resolver it becomes. ``addresses``: of
    a name, asked anew each time. Nothing may be kept (TTL 0)."""

    def __init__(self, addresses: Callable[[str], list[str]]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._over = threading.Event()

    def __enter__(self) -> Self:
        Path("/etc/resolv.conf").unlink(missing_ok=True)
        Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
        Path("/etc/nsswitch.conf").write_text("hosts: files dns\n")
        self._socket.bind(("127.0.0.1", 53))
        self._socket.settimeout(0.5)
        threading.Thread(target=self._serve, daemon=True, name="name server").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _serve(self) -> None:
        with self._socket:
            while not self._over.is_set():
                try:
                    question, client = self._socket.recvfrom(4096)
                except TimeoutError:
                    continue
                self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5  # the name, its type and its class
        kind = struct.unpack("!H", question[end - 4 : end - 2])[0]
        found = self.addresses(_name(question)) if kind == _A else []
        head = question[:2] + struct.pack("!HHHHH", _ANSWER | _RECURSION, 1, len(found), 0, 0)
        pointer = b"\xc0\x0c"  # the name of the question
        records = (pointer + struct.pack("!HHIH", _A, _IN, 0, 4) + ipaddress.IPv4Address(each).packed for each in found)
        return head + question[12:end] + b"".join(records)


def _name(question: bytes) -> str:
    parts, at = [], 12
    while length := question[at]:
        parts.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(parts).lower()
