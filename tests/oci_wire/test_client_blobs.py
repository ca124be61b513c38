"""Blobs over a bad line, and from registries that lie: a whole blob is right, or it never ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx
import pytest

from oci_wire.client import RemoteRegistry
from oci_wire.digest import Digest
from oci_wire.errors import (
    DigestInvalid,
    RangeInvalid,
    RegistryError,
    Unavailable,
    Unreachable,
    Unsupported,
)
from oci_wire.registry import BlobStream, ByteRange
from tests.oci_wire.wire import CALL, answer, in_turn, remote

CONTENT = bytes(range(256)) * 400
SIZE = len(CONTENT)
BLOB = Digest.of(CONTENT)
T = TypeVar("T")
CUT = httpx.ReadError("the line is dead")


async def _read(stream: BlobStream) -> bytes:
    return await stream.read()


async def _taken(stream: BlobStream) -> tuple[bytes, type[BaseException] | None]:
    """What came out before it ended, and how it ended."""
    content = bytearray()
    try:
        async for chunk in stream.chunks:
            content += chunk
    except RegistryError as error:
        return bytes(content), type(error)
    return bytes(content), None


def _part(
    start: int, stop: int = SIZE, *, size: int = SIZE, then: Exception | None = None, sent: int | None = None
) -> httpx.Response:
    end = stop if sent is None else start + sent
    chunks = [CONTENT[at : min(at + 10_000, end)] for at in range(start, end, 10_000)]
    return answer(
        206, *chunks, then=then, content_range=f"bytes {start}-{stop - 1}/{size}", content_length=stop - start
    )


def _whole(sent: int = SIZE, then: Exception | None = None) -> httpx.Response:
    chunks = [CONTENT[at : min(at + 10_000, sent)] for at in range(0, sent, 10_000)]
    return answer(200, *chunks, then=then, content_length=SIZE)


async def test_it_goes_on_where_it_was_cut() -> None:
    answers = [_whole(30_000, CUT), _part(30_000, sent=25_000, then=CUT), _part(55_000)]
    registry, script = remote(in_turn(answers))
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT
    assert [each.headers.get("range") for each in script.asked] == [None, "bytes=30000-", "bytes=55000-"]
    assert all(each.is_closed for each in answers)


async def test_an_early_clean_end_is_a_cut() -> None:
    registry, _ = remote(in_turn([_whole(30_000), _part(30_000)]))
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT


async def test_a_cut_part_goes_on_too() -> None:
    registry, script = remote(in_turn([_part(100, 90_000, sent=10_000, then=CUT), _part(10_100)]))
    stream = await registry.open_blob(CALL, "apps/api", BLOB, ByteRange(100, 90_000))
    assert await _read(stream) == CONTENT[100:90_000]
    assert [each.headers["range"] for each in script.asked] == ["bytes=100-89999", "bytes=10100-"]


async def test_a_server_without_ranges_sends_it_all_again() -> None:
    registry, _ = remote(in_turn([_whole(30_000, CUT), _whole()]))
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT
    registry, _ = remote(in_turn([_whole()]))
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB, ByteRange(-10))) == CONTENT[-10:]


@pytest.mark.parametrize("again", [_part(40_000), _part(29_999), _part(30_000, size=SIZE + 1)])
async def test_a_blob_that_goes_on_elsewhere_is_not_taken(again: httpx.Response) -> None:
    registry, _ = remote(in_turn([_whole(30_000, CUT), again]))
    content, ended = await _taken(await registry.open_blob(CALL, "apps/api", BLOB))
    assert (ended, len(content) < SIZE) == (Unavailable, True)
    assert again.is_closed


async def test_a_line_that_is_always_cut_is_given_up() -> None:
    registry, script = remote(
        lambda request: _whole(0, CUT) if "range" not in request.headers else _part(0, sent=0, then=CUT)
    )
    content, ended = await _taken(await registry.open_blob(CALL, "apps/api", BLOB))
    assert (content, ended) == (b"", Unreachable)
    assert len(script.asked) == 6


async def test_every_attempt_to_go_on_is_the_retrys() -> None:
    attempts: list[str] = []

    async def twice(attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await attempt()
        except Unavailable as error:
            attempts.append(error.message)
            return await attempt()

    answers = [_whole(30_000, CUT), answer(503), _part(30_000)]
    registry, _ = remote(in_turn(answers), retry=twice)
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT
    assert len(attempts) == 1


async def test_wrong_bytes_of_the_right_length_never_end() -> None:
    wrong = CONTENT[:-1] + b"\0"
    for chunks in ([wrong], [wrong[:50_000], wrong[50_000:]], [wrong[:-1], wrong[-1:]]):
        registry, _ = remote(in_turn([answer(200, *chunks)]))
        content, ended = await _taken(await registry.open_blob(CALL, "apps/api", BLOB))
        assert ended is DigestInvalid
        assert len(content) < SIZE


async def test_another_blob_of_another_length() -> None:
    registry, _ = remote(in_turn([answer(200, b"something else")]))
    content, ended = await _taken(await registry.open_blob(CALL, "apps/api", BLOB))
    assert (content, ended) == (b"", DigestInvalid)


async def test_a_wrong_part_that_was_gone_on_with_is_found() -> None:
    registry, _ = remote(
        in_turn(
            [_whole(30_000, CUT), answer(206, b"\1" * (SIZE - 30_000), content_range=f"bytes 30000-{SIZE - 1}/{SIZE}")]
        )
    )
    content, ended = await _taken(await registry.open_blob(CALL, "apps/api", BLOB))
    assert (ended, content) == (DigestInvalid, CONTENT[:30_000])


async def test_more_than_was_told_is_not_read() -> None:
    registry, _ = remote(in_turn([answer(200, CONTENT, b"and more", content_length=SIZE)]))
    assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT


@pytest.mark.parametrize(
    ("odd", "error"),
    [
        (answer(206, CONTENT), Unavailable),
        (answer(206, CONTENT, content_range="bytes */*"), Unavailable),
        (answer(206, CONTENT, content_range="bytes 5-9/10"), Unavailable),
        (answer(200, CONTENT, content_length=None), Unavailable),
        (answer(200, CONTENT, content_length="many"), Unavailable),
        (answer(200, CONTENT, content_encoding="gzip"), Unsupported),
        (answer(416), RangeInvalid),
        (answer(416, b'{"errors":[{"code":"RANGE_INVALID"}]}'), RangeInvalid),
    ],
)
async def test_odd_heads(odd: httpx.Response, error: type[Exception]) -> None:
    registry, _ = remote(in_turn([odd]))
    with pytest.raises(error):
        await registry.open_blob(CALL, "apps/api", BLOB)
    assert odd.is_closed


async def test_a_stream_that_nobody_reads_is_given_back() -> None:
    for span in (None, ByteRange(5, 9)):
        unread = _whole()
        registry, _ = remote(in_turn([unread]))
        async with await registry.open_blob(CALL, "apps/api", BLOB, span):
            pass
        assert unread.is_closed


async def test_a_stream_that_is_left_in_the_middle_is_given_back() -> None:
    unread = _whole()
    registry, _ = remote(in_turn([unread]))
    async with await registry.open_blob(CALL, "apps/api", BLOB) as stream:
        await anext(stream.chunks)
    assert unread.is_closed


@asynccontextmanager
async def _cutting_server(cuts: list[int]) -> AsyncIterator[str]:
    """A real socket: each answer is cut after so many bytes of the body, the last is whole."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        start = int(head.split("range: bytes=")[1].split("-")[0]) if "range:" in head else 0
        status = f"206 Partial\r\ncontent-range: bytes {start}-{SIZE - 1}/{SIZE}" if start else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {SIZE - start}\r\n\r\n".encode())
        writer.write(CONTENT[start : start + (cuts.pop(0) if cuts else SIZE)])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_over_a_real_socket() -> None:
    async with _cutting_server([1, 40_000, 0, 10]) as url, RemoteRegistry(url) as registry:
        assert await _read(await registry.open_blob(CALL, "apps/api", BLOB)) == CONTENT


async def test_nobody_listens() -> None:
    async with _cutting_server([]) as url:
        pass
    async with RemoteRegistry(url) as registry:
        with pytest.raises(Unreachable):
            await registry.open_blob(CALL, "apps/api", BLOB)
