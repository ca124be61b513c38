"""The head of an answer as it is sent."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable

from oci_wire.errors import RegistryError, to_json

_BAD_NAME = re.compile(rb'[\x00-\x20\x7f()<>@,;:\[\]={}\\"]')
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = {status: _status_line(status) for status in range(200, 600)}


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines. Raises RuntimeError for bytes that would begin another line."""
    lines: list[bytes] = []
    for name, value in headers:
        if _BAD_NAME.search(name) or _BAD_VALUE.search(value):
            raise RuntimeError("a header of the answer holds what no header may hold")
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


def refusal(error: RegistryError, request_id: bytes, more: bytes, *, head: bool) -> bytes:
    """A whole answer that says what is wrong, after which the connection ends. ``more``: header lines; ``head``: it
    answers a HEAD."""
    body = to_json(error)
    lines = lines_of((
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", request_id),
    ))  # fmt: skip
    return b"".join((STATUS_LINES[error.status], more, lines, b"\r\n", b"" if head else body))
