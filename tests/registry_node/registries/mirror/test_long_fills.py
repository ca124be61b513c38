"""Long blobs over real connections: threads take them from the upstream, readers follow in the growing file."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.growing import FilePart, InParts
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.registries.mirror.reading import WITHHELD
from registry_node.registries.upstreams import Upstreams
from registry_node.settings import Mirror
from registry_node.storage.incoming import Incoming
from tests.upstreams import faults
from tests.upstreams.faults import Fault
from tests.upstreams.holdings import Image
from tests.upstreams.lying import LyingUpstream, Plan
from tests.upstreams.serving import Reply, Request

LAYER = os.urandom(3 * 1024 * 1024 + 17)
DIGEST = Digest.of(LAYER)
# What can be done to a long body: those that cut it, bend it, or lie about it.
FAULTS = [each for each in faults.QUICK if each is not faults.too_many_untold]


@pytest.fixture
def liar() -> Iterator[LyingUpstream]:
    with LyingUpstream() as started:
        yield started


@pytest.fixture
def image(liar: LyingUpstream) -> Image:
    return liar.holdings.image("apps/api", LAYER, tags=("1.0",))


@pytest.fixture
async def mirror(tmp_path: Path, liar: LyingUpstream) -> AsyncIterator[MirrorRegistry]:
    settings = Mirror.model_validate({"answer_seconds": 2, "upstreams": [{"name": "liar", "url": liar.url}]})
    opened = MirrorRegistry.open(tmp_path / "cache", settings, Upstreams.of(settings))
    yield opened
    await opened.aclose()
    opened.close()
    async with asyncio.timeout(10):
        while [each for each in threading.enumerate() if each.name.startswith("towpath-fill")]:
            await asyncio.sleep(0.01)


async def _open(mirror: MirrorRegistry, span: ByteRange | None = None, digest: Digest = DIGEST) -> BlobStream:
    return await mirror.open_blob(Call(), "apps/api", digest, span)


async def _received(stream: BlobStream, *, in_parts: bool = True) -> tuple[bytes, RegistryError | None]:
    """What came, and what ended it before its end; ``in_parts``: as a server takes it that sends files itself."""
    content, chunks = bytearray(), stream.chunks
    parts: AsyncIterator[FilePart | bytes] = chunks.parts() if in_parts and isinstance(chunks, InParts) else chunks
    async with stream:
        try:
            async for part in parts:
                if isinstance(part, bytes):
                    content += part
                else:
                    content += os.pread(part.file.fileno(), part.count, part.offset)
        except RegistryError as error:
            return bytes(content), error
    return bytes(content), None


async def _settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("image")
@pytest.mark.parametrize("in_parts", [True, False])
async def test_all_who_follow_get_it_and_it_is_asked_for_once(
    mirror: MirrorRegistry, liar: LyingUpstream, in_parts: bool
) -> None:
    spans = [None, ByteRange(0, 100), ByteRange(2_000_000), ByteRange(700_000, 1_900_000), None]
    streams = await asyncio.gather(*(_open(mirror, span) for span in spans))
    found = await asyncio.gather(*(_received(each, in_parts=in_parts) for each in streams))
    for span, (content, error) in zip(spans, found, strict=True):
        start, stop = (span or ByteRange()).within(len(LAYER))
        assert error is None and content == LAYER[start:stop]
    await _settled(mirror)
    assert liar.server.count("GET", "/blobs/") == 1
    assert (await _open(mirror)).path is not None  # from now on it is a file of the cache


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_a_lie_about_a_long_body_is_never_complete(
    mirror: MirrorRegistry, liar: LyingUpstream, image: Image, fault: Fault
) -> None:
    liar.plan = Plan(among=[fault], slow=0, kinds=("blobs",))
    try:
        content, error = await _received(await _open(mirror))
    except RegistryError:
        content, error = b"", None
    else:
        assert content == LAYER if error is None else len(content) < len(LAYER)
    await _settled(mirror)
    kept = [each for each in (mirror._local.folder / "blobs").rglob("*") if each.is_file()]
    assert all(Digest.of(each.read_bytes()).hex == each.name for each in kept)


async def test_the_last_of_it_waits_until_the_whole_is_verified(
    mirror: MirrorRegistry, liar: LyingUpstream, image: Image
) -> None:
    def last_byte_flipped(request: Request, reply: Reply, random: Random) -> Reply:
        return reply.but(body=reply.body[:-1] + bytes([reply.body[-1] ^ 1]))

    liar.plan = Plan(among=[last_byte_flipped], slow=0, kinds=("blobs",))
    content, error = await _received(await _open(mirror))
    assert error is not None and content == LAYER[: len(LAYER) - WITHHELD]
    await _settled(mirror)
    assert mirror.counts.wrong == 1 and mirror.upstreams()[0].requests["bad-answer"] == 1
    liar.plan.stop()
    assert await _received(await _open(mirror)) == (LAYER, None)


@pytest.mark.usefixtures("image")
async def test_a_disk_that_is_full_in_the_middle_holds_up_nobody(
    mirror: MirrorRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = Incoming.write

    def full(self: Incoming, content: Any, size: int | None = None) -> None:
        if self.size >= 1_000_000:
            raise OSError(errno.ENOSPC, "full")
        write(self, content, size)

    monkeypatch.setattr(Incoming, "write", full)
    both = [await _open(mirror), await _open(mirror, ByteRange(10, 500))]
    assert [await _received(each) for each in both] == [(LAYER, None), (LAYER[10:500], None)]
    await _settled(mirror)
    assert mirror.counts.passed_through == 1
    assert not list((tmp_path / "cache" / "temp").iterdir())


async def test_the_last_to_leave_stops_the_thread_too(
    mirror: MirrorRegistry, liar: LyingUpstream, image: Image
) -> None:
    async def slowly(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
        writer.write(head)
        for at in range(0, len(body), 20_000):
            writer.write(body[at : at + 20_000])
            await asyncio.sleep(0.01)
        return True

    def slow(request: Request, reply: Reply, random: Random) -> Reply:
        return reply.but(deliver=slowly)

    liar.plan = Plan(among=[slow], slow=0, kinds=("blobs",))
    stream = await _open(mirror)
    await anext(stream.chunks)
    await stream.aclose()
    await _settled(mirror)
    assert mirror.counts.stopped == 1
    liar.plan.stop()
    assert await _received(await _open(mirror)) == (LAYER, None)
    assert mirror.counts.resumed == 1


async def test_sha512_is_pulled_through_and_checked(mirror: MirrorRegistry, liar: LyingUpstream, image: Image) -> None:
    digest = Digest.of(LAYER, "sha512")
    liar.holdings.repositories["apps/api"].blobs[str(digest)] = LAYER[:-1] + b"!"
    content, error = await _received(await _open(mirror, digest=digest))
    assert error is not None and len(content) < len(LAYER)
    await _settled(mirror)
    liar.holdings.repositories["apps/api"].blobs[str(digest)] = LAYER
    assert await _received(await _open(mirror, digest=digest)) == (LAYER, None)
    await _settled(mirror)
    stream = await _open(mirror, digest=digest)
    assert stream.path is not None and await stream.read() == LAYER


async def test_long_layers_come_over_one_connection(mirror: MirrorRegistry, liar: LyingUpstream) -> None:
    layers = [os.urandom(700_000) for _ in range(6)]
    liar.holdings.image("apps/api", *layers)
    for each in layers:
        assert await _received(await _open(mirror, digest=Digest.of(each))) == (each, None)
        await _settled(mirror)
    assert liar.server.connections == 1
