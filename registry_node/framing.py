"""What a request head says about its body, read strictly: whatever two servers may read differently is refused
(RFC 9112 sections 6.3, 7.1, 11.2: request smuggling). No I/O here."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable

from oci_wire.errors import RequestInvalid

Header = tuple[bytes, bytes]
Buffer = bytearray | mmap.mmap
Span = tuple[int, int]  # start and stop in a buffer
_VERSIONS = frozenset((b" HTTP/1.1", b" HTTP/1.0"))
_LENGTH_DIGITS = 18  # no body has more
_LINE = 1024  # bytes of a chunk's size line, extensions included
_TRAILERS = 8192
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;" + _TEXT + rb")?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):" + _TEXT)
# What would say something else about the message than its head does (RFC 9110 section 6.5.1).
_NO_TRAILERS = frozenset((b"content-length", b"transfer-encoding", b"host", b"trailer"))


def check_lines(head: bytes) -> None:
    """Lines end in CR LF, none goes on in the next one, the first has three words. Raises RequestInvalid."""
    ends = head.count(b"\r\n")
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise RequestInvalid("header lines must end in CR LF")
    if b"\n " in head or b"\n\t" in head:
        raise RequestInvalid("folded header lines are not taken")
    end = head.find(b"\r")
    if head.count(b" ", 0, end) != 2 or head[end - 9 : end] not in _VERSIONS:
        raise RequestInvalid("the request line must be a method, a target and a version: HTTP/1.1")


class Counted:
    """A body of so many bytes (0: none). ``left``: those still to come."""

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def complete(self) -> bool:
        return self.left == 0

    def owns(self, data: bytes) -> bool:
        """Whether all of it is body, which it then counts: so that bulk bytes are not copied once more."""
        if self.left < len(data) or not self.left:
            return False
        self.left -= len(data)
        return True

    def take(self, buffer: bytearray) -> bytes:
        """Moves what belongs to the body out of the buffer."""
        body = bytes(buffer[: self.left])
        del buffer[: len(body)]
        self.left -= len(body)
        return body

    def spans(self, buffer: Buffer, filled: int) -> tuple[list[Span], int]:
        """Where the body lies in the first ``filled`` bytes, and where what was read of them ends."""
        count = min(self.left, filled)
        self.left -= count
        return [(0, count)] if count else [], count

    def may_end(self, buffer: Buffer, filled: int) -> bool:
        """Whether the end of the body may be among these bytes; False: it is not."""
        return filled >= self.left


class Chunked:
    """A chunked body (RFC 9112 section 7.1). Extensions and trailers are read and dropped."""

    def __init__(self) -> None:
        self.complete = False
        self._left = 0  # of this chunk
        self._state = "size"
        self._trailers = 0
        self._size, self._seam = 0, b""  # of the last chunk, and the framing that would begin another one like it

    def owns(self, data: bytes) -> bool:
        """Never: the sizes of the chunks are no body."""
        return False

    def take(self, buffer: bytearray) -> bytes:
        """Moves what belongs to the body out of the buffer. Raises RequestInvalid."""
        spans, end = self.spans(buffer, len(buffer))
        with memoryview(buffer) as view:
            body = b"".join([view[start:stop] for start, stop in spans])
        del buffer[:end]
        return body

    def spans(self, buffer: Buffer, filled: int) -> tuple[list[Span], int]:
        """Where the body lies in the first ``filled`` bytes, and where what was read of them ends: a line that is not
        all here comes again. Raises RequestInvalid."""
        found, position = list[Span](), 0
        while not self.complete:
            if self._state == "data":
                stop = min(position + self._left, filled)
                if stop == position:
                    break
                found.append((position, stop))
                self._left -= stop - position
                position = stop if self._left else self._past_the_seam(buffer, stop, filled)
                continue
            line = _line(buffer, position, filled)
            if line is None:
                break
            position += len(line) + 2
            self._read(line)
        return found, position

    def _past_the_seam(self, buffer: Buffer, position: int, filled: int) -> int:
        """A chunk has ended. Most senders' chunks are of one size: then the framing between them is not read anew."""
        end = position + len(self._seam)
        if end > filled or buffer[position:end] != self._seam:
            self._state = "end"
            return position
        self._left = self._size
        return end

    def may_end(self, buffer: Buffer, filled: int) -> bool:
        """Whether the end of the body may be the last of these bytes; False: it is not."""
        return self._state == "trailers" or buffer[max(filled - 4, 0) : filled] == b"\r\n\r\n"

    def _read(self, line: bytes) -> None:
        if self._state == "size":
            self._left = self._size = _chunk_size(line)
            self._seam = b"\r\n%b\r\n" % line
            self._state = "data" if self._left else "trailers"
        elif self._state == "end":
            if line:
                raise RequestInvalid("a chunk is longer than its size")
            self._state = "size"
        else:
            self._trailers += len(line)
            if self._trailers > _TRAILERS:
                raise RequestInvalid("the trailers of the chunked body are too long")
            _check_trailer(line)
            self.complete = not line


Body = Counted | Chunked


def _line(buffer: Buffer, position: int, filled: int) -> bytes | None:
    """The next line without its end, None when it is not all here."""
    end = buffer.find(b"\n", position, min(position + _LINE, filled))
    if end < 0:
        if filled - position >= _LINE:
            raise RequestInvalid("a line of the chunked body is too long")
        return None
    if end == position or buffer[end - 1] != 13:
        raise RequestInvalid("lines of a chunked body must end in CR LF")
    return bytes(buffer[position : end - 1])


def _chunk_size(line: bytes) -> int:
    found = _SIZE_LINE.fullmatch(line)
    if found is None:
        raise RequestInvalid("a chunk must begin with its size in hex digits")
    return int(found[1], 16)


def _check_trailer(line: bytes) -> None:
    """A trailer is a field as in the head; an empty line ends them. Raises RequestInvalid."""
    field = _FIELD.fullmatch(line)
    if line and (field is None or field[1].lower() in _NO_TRAILERS):
        raise RequestInvalid("the trailers of the chunked body cannot be read, or say how it is framed")


def body_of(headers: Iterable[Header], version: str) -> Body:
    """How the body is framed. ``headers``: names in lower case. Raises RequestInvalid."""
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in (b"content-length", b"transfer-encoding", b"host"):
            if name in seen:
                raise RequestInvalid(f"the {name.decode()} header came twice")
            seen[name] = value.strip(b" \t")
    if b"host" not in seen and version != "1.0":
        raise RequestInvalid("the Host header is missing")
    length, encoding = seen.get(b"content-length"), seen.get(b"transfer-encoding")
    if encoding is not None:
        return _chunked(encoding, length, version)
    if length is not None and not (length.isdigit() and len(length) <= _LENGTH_DIGITS):
        raise RequestInvalid("Content-Length must be a whole number of bytes")
    return Counted(int(length or b"0"))


def _chunked(encoding: bytes, length: bytes | None, version: str) -> Chunked:
    if length is not None:
        raise RequestInvalid("Content-Length and Transfer-Encoding contradict each other")
    if version == "1.0" or encoding.lower() != b"chunked":
        raise RequestInvalid("chunked is the one transfer encoding taken here, in HTTP/1.1")
    return Chunked()
