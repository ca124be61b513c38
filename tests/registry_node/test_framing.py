"""Bodies of requests: strict about everything that two servers may read differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.errors import RequestInvalid
from registry_node.framing import Chunked, Counted, body_of, check_lines

HOST = (b"host", b"a")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
    ],
)
def test_lines_that_end_or_go_on_oddly(head: bytes) -> None:
    with pytest.raises(RequestInvalid):
        check_lines(head)


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ([HOST, (b"content-length", b"3"), (b"transfer-encoding", b"chunked")], "1.1"),
        ([HOST, (b"content-length", b"3"), (b"content-length", b"3")], "1.1"),
        ([HOST, HOST], "1.1"),
        ([], "1.1"),
        ([HOST, (b"content-length", b"+3")], "1.1"),
        ([HOST, (b"content-length", b"3,3")], "1.1"),
        ([HOST, (b"content-length", b"")], "1.1"),
        ([HOST, (b"content-length", b"9" * 19)], "1.1"),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1"),
        ([HOST, (b"transfer-encoding", b"xchunked")], "1.1"),
        ([HOST, (b"transfer-encoding", b"chunked")], "1.0"),
    ],
)
def test_heads_that_are_refused(headers: list[tuple[bytes, bytes]], version: str) -> None:
    with pytest.raises(RequestInvalid):
        body_of(headers, version)


def test_heads_that_are_taken() -> None:
    assert body_of([HOST], "1.1").complete
    assert body_of([], "1.0").complete
    counted = body_of([HOST, (b"content-length", b" 12 ")], "1.1")
    assert isinstance(counted, Counted)
    assert counted.left == 12
    assert isinstance(body_of([HOST, (b"transfer-encoding", b"Chunked")], "1.1"), Chunked)


@given(st.lists(st.binary(min_size=1, max_size=70)), st.lists(st.integers(0, 300)))
def test_a_chunked_body_in_any_pieces(chunks: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(b"%X ;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: 1\r\n\r\n"
    rest, body, buffer, received = wire + b"GET", Chunked(), bytearray(), b""
    for cut in [*cuts, len(rest)]:
        piece, rest = rest[:cut], rest[cut:]
        buffer += piece
        received += body.take(buffer)
    assert body.complete
    assert received == b"".join(chunks)
    assert bytes(buffer) == b"GET"


@pytest.mark.parametrize(
    "wire",
    [
        b"3\nabc",
        b"\r\n",
        b"-1\r\n",
        b"0x3\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"g\r\n",
        b"1" * 16 + b"\r\n",
        b"1" * 1024,
    ],
)
def test_chunks_that_are_refused(wire: bytes) -> None:
    with pytest.raises(RequestInvalid):
        Chunked().take(bytearray(wire))


@given(st.binary(max_size=100))
def test_a_counted_body_takes_what_is_its_own(content: bytes) -> None:
    body, buffer = Counted(len(content)), bytearray(content + b"GET")
    assert body.take(buffer) == content
    assert body.complete
    assert bytes(buffer) == b"GET"
