"""Blobs that are not kept: they go by in memory, and those who have what they asked for hold up nobody."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.messages import ClientGone, Response
from registry_node.registries.mirror import fill as fills
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.storage.incoming import Incoming
from tests.registry_node.pushes import put_image
from tests.registry_node.registries.mirror.conftest import MakeMirror
from tests.registry_node.registries.mirror.double import Upstream

LAYER = os.urandom(3 * fills.WINDOW)
DIGEST = Digest.of(LAYER)
IN_FILE = 1_000_000  # about so many bytes the disk takes before it is full
HANG = 30  # seconds after which a test has hung

pytestmark = pytest.mark.timeout(2 * HANG)


@pytest.fixture
async def image(upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])


@pytest.fixture
def filling_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Incoming.write

    def full(self: Incoming, content: Any, size: int | None = None) -> None:
        if self.size >= IN_FILE:
            raise OSError(errno.ENOSPC, "full")
        write(self, content, size)

    monkeypatch.setattr(Incoming, "write", full)


async def _open(mirror: MirrorRegistry, span: ByteRange | None = None) -> BlobStream:
    return await mirror.open_blob(Call(), "apps/api", DIGEST, span)


async def _read(mirror: MirrorRegistry, *spans: ByteRange | None) -> list[bytes]:
    """What all of them get who ask at once."""
    async with asyncio.timeout(HANG):
        streams = await asyncio.gather(*(_open(mirror, span) for span in spans))
        return list(await asyncio.gather(*(each.read() for each in streams)))


async def _settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


def _slice(span: ByteRange | None) -> bytes:
    start, stop = (span or ByteRange()).within(len(LAYER))
    return LAYER[start:stop]


FIRST, MIDDLE, LAST = ByteRange(0, 100), ByteRange(6_000_000, 6_000_100), ByteRange(len(LAYER) - 50, len(LAYER))
ACROSS = ByteRange(IN_FILE - 100_000, IN_FILE + 100_000)  # what is in the file, and what went by
SPANS = [[FIRST], [MIDDLE], [LAST], [ACROSS], [FIRST, None], [FIRST, MIDDLE, ACROSS, LAST, None]]


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("spans", SPANS)
async def test_parts_of_a_blob_that_is_larger_than_the_cache(
    mirrored: MakeMirror, spans: list[ByteRange | None]
) -> None:
    mirror = mirrored(max_bytes=1_000_000)
    assert await _read(mirror, *spans) == [_slice(each) for each in spans]
    await _settled(mirror)


@pytest.mark.usefixtures("image", "filling_disk")
@pytest.mark.parametrize("spans", SPANS)
async def test_parts_of_a_blob_while_the_disk_fills(mirror: MirrorRegistry, spans: list[ByteRange | None]) -> None:
    assert await _read(mirror, *spans) == [_slice(each) for each in spans]
    await _settled(mirror)
    assert mirror.counts.passed_through == 1


@pytest.mark.usefixtures("image", "filling_disk")
async def test_who_has_the_bytes_around_the_end_of_the_file_waits_for_the_whole_all_the_same(
    mirror: MirrorRegistry,
) -> None:
    """Whatever that end is: it lies where the piece ended that the disk took last."""
    for stop in range(IN_FILE, IN_FILE + fills.PIECE, 50_000):
        span = ByteRange(stop - 20_000, stop)
        assert await _read(mirror, span) == [_slice(span)]


async def _leave_a_part(mirror: MirrorRegistry, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client goes when a part has come, and that part cannot be opened again."""
    upstream.flowing.clear()
    upstream.first = 2_000_000
    stream = await _open(mirror)
    await anext(stream.chunks)
    await stream.aclose()
    upstream.flowing.set()
    await _settled(mirror)

    def refused(path: Path) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(fills, "FileIO", refused)


@pytest.mark.usefixtures("image")
async def test_a_part_that_can_not_be_opened_any_more_shifts_nothing(
    mirrored: MakeMirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirrored(finish_share=1)
    await _leave_a_part(mirror, upstream, monkeypatch)
    assert await _read(mirror, MIDDLE) == [_slice(MIDDLE)]
    assert mirror.counts.resumed == 1


@pytest.mark.usefixtures("image")
async def test_a_part_that_can_not_be_opened_is_refused_to_who_needs_it(
    mirrored: MakeMirror, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask again, and it comes from the beginning."""
    mirror = mirrored(finish_share=1)
    await _leave_a_part(mirror, upstream, monkeypatch)
    with pytest.raises(RegistryError, match="ask again"):
        await _read(mirror, None)
    await _settled(mirror)
    assert await _read(mirror, None) == [LAYER]


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("zero_copy", [True, False])
async def test_a_client_that_leaves_while_nothing_comes_is_not_waited_for(
    mirrored: MakeMirror, upstream: Upstream, zero_copy: bool
) -> None:
    mirror = mirrored(finish_share=1)
    upstream.flowing.clear()
    upstream.first = 2 * fills.PIECE
    left, sent = asyncio.Event(), 0

    async def hung_up() -> None:
        await left.wait()

    async def send(message: Any) -> None:
        nonlocal sent
        sent += message.get("count", len(message.get("body", b"")))
        if sent == 2 * fills.PIECE:  # all that comes
            left.set()

    response = Response(200, {}, await _open(mirror), zero_copy=zero_copy)
    with pytest.raises(ClientGone):
        async with asyncio.timeout(HANG):
            await response.send(send, head=False, hung_up=hung_up)
    await response.aclose()
    async with asyncio.timeout(HANG):
        await _settled(mirror)
    assert mirror.counts.stopped == 1 and upstream.closed == 1


async def test_what_breaks_on_its_way_is_said_and_not_lost(mirror: MirrorRegistry, upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])

    async def broken(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(chunks)
        raise ValueError("broken")

    async def send(message: Any) -> None: ...

    upstream.bend = broken
    response = Response(200, {}, await _open(mirror), zero_copy=True)
    with pytest.raises(ValueError, match="broken"):
        async with asyncio.timeout(HANG):
            await response.send(send, head=False, hung_up=asyncio.Event().wait)  # type: ignore[arg-type]
    await response.aclose()
