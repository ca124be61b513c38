"""The verifying stream: right bytes come through unchanged, wrong ones never come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.errors import DigestInvalid, RangeInvalid, RegistryError, SizeInvalid
from oci_wire.registry import ByteRange
from oci_wire.streams import Owned, close, pieces
from oci_wire.verify import verified

CHUNKS = st.lists(st.binary(max_size=20), max_size=6)


class Source(AsyncIterator[bytes]):
    def __init__(self, chunks: list[bytes]) -> None:
        self._left = list(chunks)
        self.closed = False

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    async def aclose(self) -> None:
        self.closed = True


async def _drain(stream: AsyncIterator[bytes]) -> tuple[bytes, type[RegistryError] | None]:
    came = bytearray()
    try:
        async for chunk in stream:
            came += chunk
    except RegistryError as error:
        return bytes(came), type(error)
    return bytes(came), None


@given(CHUNKS, st.sampled_from(["sha256", "sha512"]), st.booleans())
def test_right_bytes_come_through(chunks: list[bytes], algorithm: str, sized: bool) -> None:
    content = b"".join(chunks)
    stream = verified(Source(chunks), Digest.of(content, algorithm), len(content) if sized else None)
    assert asyncio.run(_drain(stream)) == (content, None)


@given(CHUNKS.filter(any), st.data())
def test_a_flipped_bit_never_comes_to_an_end(chunks: list[bytes], data: st.DataObject) -> None:
    content = b"".join(chunks)
    at = data.draw(st.integers(0, len(content) - 1))
    expected = bytearray(content)
    expected[at] ^= 1 << data.draw(st.integers(0, 7))
    came, error = asyncio.run(_drain(verified(Source(chunks), Digest.of(bytes(expected)), len(content))))
    assert error is DigestInvalid
    assert len(came) < len(content)


@given(CHUNKS, st.integers(0, 200))
def test_a_wrong_length_never_comes_to_an_end(chunks: list[bytes], size: int) -> None:
    content = b"".join(chunks)
    if size == len(content):
        return
    came, error = asyncio.run(_drain(verified(Source(chunks), Digest.of(content), size)))
    assert error is SizeInvalid
    assert len(came) < size or size == 0


async def test_what_stands_behind_is_closed_even_unread() -> None:
    source = Source([b"a", b"b"])
    await close(verified(source, Digest.of(b"ab")))
    assert source.closed
    source = Source([b"a", b"b"])
    stream = verified(source, Digest.of(b"ab"))
    await anext(stream)
    await stream.aclose()
    assert source.closed


async def test_an_end_runs_though_the_chunks_fail_to_close() -> None:
    class Broken(Source):
        async def aclose(self) -> None:
            raise OSError("stuck")

    ended = []

    async def end() -> None:
        ended.append(True)

    with pytest.raises(OSError, match="stuck"):
        await Owned(Broken([]), end).aclose()
    assert ended == [True]


@given(CHUNKS, st.integers(1, 30))
def test_pieces(chunks: list[bytes], size: int) -> None:
    async def cut() -> list[bytes]:
        return [piece async for piece in pieces(Source(chunks), size)]

    found = asyncio.run(cut())
    assert b"".join(found) == b"".join(chunks)
    assert all(len(each) == size for each in found[:-1])
    assert all(found)


@given(st.integers(-50, 50), st.one_of(st.none(), st.integers(0, 60)), st.integers(0, 40))
def test_ranges_are_python_slices_or_invalid(start: int, stop: int | None, size: int) -> None:
    """A negative start takes no stop: it means the last bytes (RFC 9110 section 14.1.2)."""
    content = bytes(range(size))
    expected = content[start:] if start < 0 else content[start:stop]
    try:
        first, last = ByteRange(start, stop).within(size)
    except RangeInvalid:
        assert expected == b""
    else:
        assert content[first:last] == expected
        assert expected or (start, stop, size) == (0, None, 0)
