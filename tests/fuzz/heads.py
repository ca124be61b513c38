"""Request heads, byte by byte, and chunked bodies, which an own strict reading tells right from wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from random import Random

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import DIGEST, REPOSITORY, Target, basic, request, require
from tests.fuzz.wire import Answer
from tests.registry_node.hostile.smuggling import CASES

_SEEDS = (
    request(b"GET", b"/v2/", auth=basic()),
    request(b"HEAD", f"/v2/{REPOSITORY}/manifests/latest".encode(), (b"Accept", b"*/*"), auth=basic()),
    request(b"GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}".encode(), (b"Range", b"bytes=0-1"), auth=basic()),
    request(b"GET", b"/healthz", (b"X-Forwarded-For", b"1.2.3.4"), (b"Forwarded", b"for=1.2.3.4")),
    request(b"POST", f"/v2/{REPOSITORY}/blobs/uploads/".encode(), (b"Expect", b"100-continue"), body=b"abc", auth=basic()),
    request(b"PATCH", f"/v2/{REPOSITORY}/blobs/uploads/x".encode(), (b"Content-Range", b"0-2"), body=b"abc", auth=basic()),
    b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
)  # fmt: skip
_SMUGGLERS = tuple(case.wire for case in CASES if len(case.wire) < 3000)
_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\0", b":", b": "),
    *(b";", b",", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"),
    *(b"GET ", b"HEAD ", b"CONNECT ", b"Host: a\r\n"),
    *(b"Content-Length: 3\r\n", b"Content-Length: ", b"Connection: keep-alive\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: "),
    *(b"Expect: 100-continue\r\n", b"Range: bytes=0-0,1-1\r\n"),
    *(b"Upgrade: h2c\r\n", b"If-None-Match: *\r\n", b"Range: bytes=-0\r\n"),
    *(b"X-Request-Id: a\r\n", b"a" * 9000, b"X: y\r\n" * 200),
    *(b"Accept-Encoding: gzip\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"http://a/", b"*", b"\xff", b"%", b"Cookie: a\r\n", b"#"),
)  # fmt: skip


def _head(random: Random, token: str) -> bytes:
    return mutated(random, random.choice(random.choice((_SEEDS, _SEEDS, _SMUGGLERS))), _WORDS)


_SIZE = re.compile(rb"([0-9a-fA-F]+)([ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[\t\x20-\x7e\x80-\xff]*")


def chunked_content(wire: bytes) -> bytes | None:
    """The content of a chunked body (RFC 9112 section 7.1); None when it breaks a rule or has not ended."""
    content = b""
    while True:
        line, end, wire = wire.partition(b"\r\n")
        size = _SIZE.fullmatch(line)
        if not end or size is None:
            return None
        length = int(size[1], 16)
        if not length:
            break
        if wire[length : length + 2] != b"\r\n":
            return None
        content, wire = content + wire[:length], wire[length + 2 :]
    while True:
        line, end, wire = wire.partition(b"\r\n")
        if end and not line:
            return content
        if not end or not _FIELD.fullmatch(line):
            return None


_CHUNK_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"0\r\n\r\n", b"0\r\n", b"5\r\nabcde\r\n", b";"),
    *(b";a=b", b';a="b"', b" ", b"\t", b"\0", b"0x", b"-1"),
    *(b"f" * 16, b"7fffffffffffffff\r\n", b"ffffffff\r\n"),
    *(b"00000000000000", b"X: y\r\n", b"Content-Length: 3\r\n", b"g", b"+"),
    *(b"Transfer-Encoding: chunked\r\n", b";" + b"a" * 2000, b"X: y\r\n" * 1500, b"1\r\na\r\n" * 500),
)  # fmt: skip
_MARK = b"X-Towpath-Fuzz: chunked\r\n\r\n"


def _chunks(random: Random) -> bytes:
    pieces = [random.randbytes(random.choice((1, 2, 10, 300, 5000))) for _ in range(random.randrange(5))]
    ends = (b"", b"", b"", b";a=b", b' ; a="b"')
    framed = [b"%x%b\r\n%b\r\n" % (len(each), random.choice(ends), each) for each in pieces]
    trailers = random.choice((b"", b"", b"X: y\r\n", b"X: y\r\nZ: \r\n"))
    return b"".join(framed) + b"0\r\n" + trailers + b"\r\n"


def _chunked(random: Random, token: str) -> bytes:
    body = _chunks(random)
    if random.random() < 0.8:
        body = mutated(random, body, _CHUNK_WORDS)
    content = chunked_content(body)
    digest = hashlib.sha256(content if content is not None else body).hexdigest()
    target = f"/v2/{REPOSITORY}/blobs/uploads/?digest=sha256:{digest}".encode()
    line = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: %b\r\n" % (target, basic())
    return line + b"Transfer-Encoding: chunked\r\n" + _MARK + body


def _check_chunked(wire: bytes, answers: Sequence[Answer]) -> None:
    """What is framed well is stored, nothing else is. What we refuse beyond the rules (long lines) is refused."""
    body = wire.partition(_MARK)[2]
    content, taken = chunked_content(body), [answer.status for answer in answers if answer.status == 201]
    require(content is not None or not taken, "a broken chunked body was taken")
    long = any(len(line) > 1000 for line in body.split(b"\r\n")) or len(body) > 8000 or b"0" * 14 in body
    framing = any(name in body.lower() for name in (b"content-length", b"transfer-encoding", b"host:", b"trailer:"))
    if content is not None and not long and not framing:
        require(bool(taken), f"a good chunked body was refused: {[answer.status for answer in answers]}")


HEAD = Target("head", _head, answered=False)


def _is_whole(wire: bytes) -> bool:
    return chunked_content(wire.partition(_MARK)[2]) is not None


CHUNKED = Target("chunked", _chunked, answered=False, check=_check_chunked, whole=_is_whole)
