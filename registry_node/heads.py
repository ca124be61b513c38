"""Request heads out of the bytes of one connection: within a limit of size, read strictly (RFC 9112). No I/O here."""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools

from oci_wire.errors import RegistryError, RequestInvalid
from registry_node.framing import Body, Header, body_of, check_lines

_END = b"\r\n\r\n"
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#@]+)(.*)")
_AUTHORITY = re.compile(rb"[^/]*(//[^/]*)?")  # of an absolute target, or of one that is no path at all


class HeadTooLarge(RegistryError):
    """431 (RFC 6585)."""

    status, code = 431, RequestInvalid.code


class Head(NamedTuple):
    """One request head. ``headers``: names in lower case. ``keep_alive``: the client lets the connection go on.

    A named tuple: this is made for every request, and a frozen dataclass takes three times as long."""

    method: str
    target: bytes
    version: str
    headers: list[Header]
    keep_alive: bool
    body: Body

    @property
    def expects_continue(self) -> bool:
        return any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers)


class HeadReader:
    """Takes one head after another out of a buffer. After an error what follows cannot be trusted."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._content = b""  # the head that was read last, or what there is of one that is refused
        self._target, self._headers = b"", list[Header]()
        self._version, self._keep_alive = "1.1", True
        self._new_parser()

    def take(self, buffer: bytearray) -> bytes | None:
        """Moves the next head, unread, out of the buffer; None: its end has not come. Raises HeadTooLarge,
        RequestInvalid."""
        while buffer[:2] == b"\r\n":  # an empty line before a request is dropped (RFC 9112 section 2.2)
            del buffer[:2]
        end = buffer.find(_END)
        if end > self._most_bytes or (end < 0 and len(buffer) > self._most_bytes):
            self._content = bytes(buffer[: self._most_bytes])
            raise HeadTooLarge(f"the request head has more than {self._most_bytes} bytes")
        if end < 0:
            if b"\n\n" in buffer:
                self._content = bytes(buffer)
                check_lines(self._content)
            return None
        content = self._content = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        return content

    def read(self, content: bytes) -> Head:
        """A whole head. Raises RequestInvalid."""
        self._content = content
        self._parse(content)
        method = self._parser.get_method().decode("ascii")
        body = body_of(self._headers, self._version)
        if not body.complete:
            self._new_parser()  # the body is framed by us, not there
        return Head(method, self._target, self._version, self._headers, self._keep_alive, body)

    def asked(self) -> tuple[str, str]:
        """Method and path of the last head as far as they can be told, for the log; no query, and no authority, which
        may hold a password. Never raises."""
        words = self._content.split(b"\n", 1)[0].split()
        method, target = (words[0], words[1]) if len(words) > 1 else (b"", b"")
        path = target.partition(b"?")[0]
        if not path.startswith(b"/"):
            path = _AUTHORITY.sub(b"", path, count=1)
        return method.decode("latin-1"), path.decode("latin-1")

    def _parse(self, content: bytes) -> None:
        check_lines(content)
        self._target, self._headers = b"", list[Header]()
        try:
            self._parser.feed_data(content)
        except httptools.HttpParserUpgrade:
            self._new_parser()  # we go on in HTTP/1.1, as a server may
            raise RequestInvalid("this server does not change protocols") from None
        except httptools.HttpParserError:
            raise RequestInvalid("the request cannot be read") from None
        if not self._target.startswith(b"/"):
            self._from_absolute_form()

    def _from_absolute_form(self) -> None:
        """A target with scheme and host, which then counts, whatever the Host header says (RFC 9112 section 3.2.2).
        Raises RequestInvalid for other targets."""
        found = _ABSOLUTE.fullmatch(self._target)
        if found is None:
            raise RequestInvalid("the request target must be a path, or a URL of http or https")
        if [name for name, _ in self._headers].count(b"host") > 1:
            raise RequestInvalid("the host header came twice")
        self._target = found[2] if found[2].startswith(b"/") else b"/" + found[2]
        self._headers = [(b"host", found[1]), *(each for each in self._headers if each[0] != b"host")]

    # What httptools calls

    def _new_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._version = self._parser.get_http_version()
        self._keep_alive = self._version == "1.1" and self._parser.should_keep_alive()  # known only here
