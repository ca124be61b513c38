"""Blobs on their way: what is wrong never ends, what breaks goes on, who leaves is not waited for."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.storage.incoming import Incoming
from tests.registry_node.pushes import CI, put_image
from tests.registry_node.registries.mirror.conftest import MakeMirror
from tests.registry_node.registries.mirror.double import CHUNK, Upstream, cut_after, endless, flipped

LAYER = bytes(range(256)) * 16384  # 4 MiB
DIGEST = Digest.of(LAYER)


@pytest.fixture
async def image(upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", LAYER, tags=["1.0"])


async def _open(mirror: MirrorRegistry, span: ByteRange | None = None) -> BlobStream:
    return await mirror.open_blob(Call(), "apps/api", DIGEST, span)


async def _received(stream: BlobStream) -> tuple[bytes, RegistryError | None]:
    """What came, and what ended it before its end."""
    content = b""
    async with stream:
        try:
            async for chunk in stream.chunks:
                content += chunk
        except RegistryError as error:
            return content, error
    return content, None


async def _settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)
    await mirror.evictor.rest()


def _left_over(folder: Path) -> list[Path]:
    return [each for each in (folder / "cache").rglob("*") if each.is_file() and each.parent.name == "temp"]


@pytest.mark.attack("A-cache-wrong-bytes")
@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("bend", [flipped, endless, cut_after(3 * CHUNK, times=100)])
@pytest.mark.parametrize("span", [None, ByteRange(0, 100_000)])
async def test_what_is_wrong_is_never_complete(
    mirror: MirrorRegistry, upstream: Upstream, bend: Any, span: ByteRange | None
) -> None:
    upstream.bend = bend
    stream = await _open(mirror, span)
    content, error = await _received(stream)
    assert error is not None and len(content) < stream.length
    await _settled(mirror)
    upstream.bend = lambda chunks: chunks
    assert (await _received(await _open(mirror)))[0] == LAYER


@pytest.mark.usefixtures("image")
async def test_wrong_bytes_are_counted_and_leave_nothing(
    mirror: MirrorRegistry, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.bend = flipped
    await _received(await _open(mirror))
    await _settled(mirror)
    assert mirror.counts.wrong == 1
    assert not _left_over(tmp_path)


@pytest.mark.usefixtures("image")
async def test_a_broken_stream_goes_on_where_it_broke(mirror: MirrorRegistry, upstream: Upstream) -> None:
    upstream.bend = cut_after(1_000_000)
    assert await _received(await _open(mirror)) == (LAYER, None)
    assert upstream.spans == [None, ByteRange(1_000_000)]


@pytest.mark.usefixtures("image")
async def test_the_last_to_leave_stops_it_and_the_next_goes_on(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror = mirrored(finish_share=1)
    upstream.flowing.clear()
    upstream.first = 2_000_000
    stream = await _open(mirror)
    await anext(stream.chunks)
    await stream.aclose()
    await _settled(mirror)
    assert upstream.closed == 1 and mirror.counts.stopped == 1
    upstream.flowing.set()
    assert await _received(await _open(mirror)) == (LAYER, None)
    assert upstream.spans[1] is not None and upstream.spans[1].start > 0


@pytest.mark.usefixtures("image")
async def test_one_who_leaves_stops_nobody_else(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror = mirrored(finish_share=1)
    upstream.flowing.clear()
    upstream.first = 1_000_000
    first, second = await _open(mirror), await _open(mirror)
    await anext(first.chunks)
    await first.aclose()
    upstream.flowing.set()
    assert await _received(second) == (LAYER, None)
    assert upstream.asked["blob"] == 1


@pytest.mark.usefixtures("image")
async def test_a_fill_that_is_nearly_done_is_finished_for_nobody(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror = mirrored(finish_share=0.1)
    upstream.flowing.clear()
    upstream.first = 2_000_000
    stream = await _open(mirror)
    await anext(stream.chunks)
    await stream.aclose()
    upstream.flowing.set()
    await _settled(mirror)
    assert await _received(await _open(mirror)) == (LAYER, None)
    assert upstream.asked["blob"] == 1


@pytest.mark.usefixtures("image")
async def test_a_slow_reader_holds_up_nobody(mirror: MirrorRegistry) -> None:
    slow, fast = await _open(mirror), await _open(mirror)
    await anext(slow.chunks)
    assert await _received(fast) == (LAYER, None)
    await _settled(mirror)
    rest, error = await _received(slow)
    assert error is None and LAYER.endswith(rest)


@pytest.mark.usefixtures("image")
async def test_a_full_disk_passes_on_and_keeps_nothing(
    mirror: MirrorRegistry, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = Incoming.write

    def full(self: Incoming, content: Any, size: int | None = None) -> None:
        if self.size >= 1_000_000:
            raise OSError(errno.ENOSPC, "full")
        write(self, content, size)

    monkeypatch.setattr(Incoming, "write", full)
    for _ in range(2):
        assert await _received(await _open(mirror)) == (LAYER, None)
        await _settled(mirror)
    assert upstream.asked["blob"] == 2 and mirror.counts.passed_through == 2
    upstream.bend = flipped
    content, error = await _received(await _open(mirror))
    assert error is not None and len(content) < len(LAYER)
    await _settled(mirror)
    assert not _left_over(tmp_path)


@pytest.mark.usefixtures("image")
async def test_what_is_larger_than_the_cache_passes_through(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror = mirrored(max_bytes=1_000_000)
    both = await asyncio.gather(_open(mirror), _open(mirror, ByteRange(10, 3_000_000)))
    assert (await _received(both[0]), await _received(both[1])) == ((LAYER, None), (LAYER[10:3_000_000], None))
    await _settled(mirror)
    assert mirror.counts.passed_through >= 1


async def test_an_empty_blob_that_is_not_empty_is_refused(mirror: MirrorRegistry, upstream: Upstream) -> None:
    await put_image(upstream.registry, "apps/api", b"", LAYER, tags=["1.0"])
    assert await _received(await mirror.open_blob(CI, "apps/api", Digest.of(b""))) == (b"", None)


@pytest.mark.usefixtures("image")
async def test_the_cache_goes_least_recently_used_first_and_spares_what_others_hold(
    mirrored: MakeMirror, upstream: Upstream, clock: Any
) -> None:
    mirror = mirrored(max_bytes=2_200_000)
    base, layers = bytes(700_000), [bytes([n]) * 600_000 for n in (1, 2, 3)]
    images = [
        await put_image(upstream.registry, "apps/web", base, each, tags=[f"v{n}"]) for n, each in enumerate(layers)
    ]
    for number in (0, 1, 0, 2):
        clock.now += 100
        for blob in (await mirror.get_manifest(CI, "apps/web", f"v{number}")).blobs:
            await (await mirror.open_blob(CI, "apps/web", blob.digest)).read()
        await mirror.uses.flush()
        await _settled(mirror)
    assert mirror.evictor.bytes <= 2_200_000 and mirror.counts.evicted >= 600_000
    upstream.asked.clear()
    for kept in (images[0], images[2]):
        for blob in kept.blobs:
            await (await mirror.open_blob(CI, "apps/web", blob.digest)).read()
    assert not upstream.asked  # the base is whole, and so are the two that were read last
    await mirror.get_manifest(CI, "apps/web", str(images[1].digest))
    assert upstream.asked["manifest"] == 1


@pytest.mark.usefixtures("image")
async def test_files_that_the_index_does_not_know_go(mirrored: MakeMirror, tmp_path: Path) -> None:
    mirror = mirrored()
    junk = tmp_path / "cache" / "blobs" / "sha256" / "ab" / ("ab" * 32)
    junk.write_bytes(b"left by a killed node")
    await _received(await _open(mirror))
    await _settled(mirror)
    assert not junk.exists()
    assert await _received(await _open(mirror)) == (LAYER, None)


@pytest.mark.usefixtures("image")
async def test_what_people_remove_frees_its_files(mirror: MirrorRegistry, tmp_path: Path) -> None:
    await mirror.get_manifest(CI, "apps/api", "1.0")
    await _received(await _open(mirror))
    await _settled(mirror)
    await mirror.delete_blob(CI, "apps/api", DIGEST)
    await _settled(mirror)
    assert not (tmp_path / "cache" / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex).exists()


@pytest.mark.usefixtures("image")
async def test_the_blobs_of_an_image_that_people_remove_go_after_an_hour(
    mirror: MirrorRegistry, upstream: Upstream, tmp_path: Path, clock: Any
) -> None:
    """Also without maxBytes; what another image names stays, and so does what is still read."""
    file = tmp_path / "cache" / "blobs" / "sha256" / DIGEST.hex[:2] / DIGEST.hex
    removed = await mirror.get_manifest(CI, "apps/api", "1.0")
    other = await put_image(upstream.registry, "apps/api", b"other", tags=["2.0"])
    await mirror.get_manifest(CI, "apps/api", "2.0")
    for blob in {*removed.blobs, *other.blobs}:
        await (await mirror.open_blob(CI, "apps/api", blob.digest)).read()
    await _settled(mirror)
    await mirror.delete_manifest(CI, "apps/api", removed.digest)
    for minutes, there in ((0, True), (50, True), (50, True), (70, False)):
        clock.now += 60 * minutes
        mirror.evictor.wake()
        await _settled(mirror)
        assert file.exists() == there
        if minutes == 50:
            await (await mirror.open_blob(CI, "apps/api", DIGEST)).read()
            await mirror.uses.flush()
    upstream.asked.clear()
    for blob in other.blobs:
        await (await mirror.open_blob(CI, "apps/api", blob.digest)).read()
    assert not upstream.asked
