"""A node's answers as bytes on a socket, read without mercy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from dataclasses import dataclass

from oci_wire import errors

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [A-Za-z' -]*")
_FIELD = re.compile(rb"([a-z0-9-]+): ([\x20-\x7e\t\x80-\xff]*)", re.IGNORECASE)
ALLOWED = frozenset((
    *(200, 201, 202, 204, 206, 304, 400, 401, 403, 404, 405, 409, 410),
    *(412, 413, 416, 417, 422, 429, 431, 501, 503, 507),
))  # fmt: skip


def _codes(root: type[errors.RegistryError]) -> set[str]:
    return {root.code}.union(*map(_codes, root.__subclasses__()))


CODES = _codes(errors.RegistryError) - {"UNKNOWN", "INTERNAL"}


class Wrong(Exception):
    """An answer that no input may bring about; the message says what is wrong with it."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def answers_in(said: bytes, methods: list[str], *, cut: bool = False) -> list[Answer]:
    """The answers to requests of these methods (the last one for all after it). ``cut``: the last answer may be
    incomplete. Raises Wrong."""
    found: list[Answer] = []
    while said:
        head, end, rest = said.partition(b"\r\n\r\n")
        if not end:
            if cut:
                return found
            raise Wrong(f"an answer without an end: {said[:200]!r}")
        status, headers = _head(head)
        if status == 100:
            said = rest
            continue
        method = methods[min(len(found), len(methods) - 1)]
        body, said = _body(rest, headers, bodiless=method == "HEAD" or status in (204, 304), cut=cut)
        found.append(Answer(status, headers, body))
        _check(found[-1], method)
    return found


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    line, *lines = head.split(b"\r\n")
    status, fields = _STATUS_LINE.fullmatch(line), [_FIELD.fullmatch(each) for each in lines]
    if status is None or not all(fields):
        raise Wrong(f"an answer's head cannot be read: {head[:300]!r}")
    pairs = [(each[1].decode().lower(), each[2].decode("latin-1")) for each in fields if each]
    once = [name for name, _ in pairs if name in ("content-length", "content-type", "transfer-encoding", "location")]
    if len(set(once)) != len(once) or {"content-length", "transfer-encoding"} <= set(once):
        raise Wrong(f"an answer's head contradicts itself: {head[:300]!r}")
    return int(status[1]), dict(pairs)


def _body(rest: bytes, headers: dict[str, str], *, bodiless: bool, cut: bool) -> tuple[bytes, bytes]:
    if bodiless:
        return b"", rest
    if "content-length" in headers:
        length = int(headers["content-length"])
        if len(rest) < length and not cut:
            raise Wrong(f"{length - len(rest)} bytes of an answer are missing")
        return rest[:length], rest[length:]
    if headers.get("transfer-encoding") == "chunked":
        return _chunked(rest)
    return rest, b""


def _chunked(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length:].removeprefix(b"\r\n")
        if not length:
            return body, rest


def _check(answer: Answer, method: str) -> None:
    if answer.status not in ALLOWED:
        raise Wrong(f"status {answer.status}: {answer.body[:300]!r}")
    if answer.status < 400 or method == "HEAD":
        return
    try:
        named = {each["code"] for each in json.loads(answer.body)["errors"]}
    except (ValueError, LookupError, TypeError):
        raise Wrong(f"{answer.status} without an error body: {answer.body[:300]!r}") from None
    if not named or not named <= CODES:
        raise Wrong(f"{answer.status} with unknown codes {named}")


async def talked(host: str, pieces: list[bytes], *, silence: float, deadline: float) -> tuple[bytes, bool]:
    """What the node says to these bytes, and whether it ended the connection. After ``silence`` seconds without a
    word we end our side. Raises Wrong when the connection is still open after ``deadline`` seconds, OSError."""
    name, _, port = host.rpartition(":")
    said, loop = bytearray(), asyncio.get_running_loop()
    with socket.socket() as sock:  # a stream would forget what was said once it cannot write
        sock.setblocking(False)
        try:
            async with asyncio.timeout(deadline):
                await loop.sock_connect(sock, (name, int(port)))
                with contextlib.suppress(ConnectionError):
                    await _sent(sock, pieces)
                ended = await _heard(sock, said, silence)
                return bytes(said), ended
        except TimeoutError:
            raise Wrong(f"nothing ended the connection in {deadline} s; said: {bytes(said[:200])!r}") from None


async def _sent(sock: socket.socket, pieces: list[bytes]) -> None:
    for piece in pieces:
        await asyncio.get_running_loop().sock_sendall(sock, piece)
        await asyncio.sleep(0)


async def _heard(sock: socket.socket, said: bytearray, silence: float) -> bool:
    ended_by_us = False
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                content = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65536), silence)
            except TimeoutError:
                if not ended_by_us:
                    sock.shutdown(socket.SHUT_WR)
                ended_by_us = True
                continue
            if not content:
                break
            said += content
    return not ended_by_us
