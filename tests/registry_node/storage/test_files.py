"""Content on disk and on its way there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import SizeInvalid
from registry_node.storage import files
from registry_node.storage.files import PIECE, BlobFiles, append, digest_of, pieces
from registry_node.storage.incoming import Incoming, gathered, overlapped
from tests.registry_node.pushes import cut


def test_the_layout(tmp_path: Path) -> None:
    store = BlobFiles(tmp_path)
    store.prepare()
    digest = Digest.of(b"content")
    store.put(b"content", digest)
    assert (tmp_path / "blobs" / "sha256" / digest.hex[:2] / digest.hex).read_bytes() == b"content"
    long = Digest.of(b"content", "sha512")
    store.put(b"content", long)
    assert (tmp_path / "blobs" / "sha512" / long.hex[:2] / long.hex).read_bytes() == b"content"
    assert list(store.temp.iterdir()) == []
    assert (store.size(digest), store.size(Digest.of(b"other"))) == (7, None)


def test_the_order_of_a_durable_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobFiles(tmp_path)
    store.prepare()
    seen: list[str] = []
    target = store.path(Digest.of(b"content"))

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").resolve()
        seen.append(
            f"sync {'folder' if name == target.parent else 'file'}, {'in' if target.exists() else 'not in'} place"
        )

    monkeypatch.setattr(files.os, "fsync", fsync)
    store.put(b"content", Digest.of(b"content"))
    assert seen == ["sync file, not in place", "sync folder, in place"]


def test_pieces_are_what_was_written(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    append(tmp_path / "x", content[:1000])
    append(tmp_path / "x", memoryview(content)[1000:])
    assert b"".join(pieces(tmp_path / "x")) == content
    assert b"".join(pieces(tmp_path / "x", 5, PIECE + 9)) == content[5 : PIECE + 9]
    assert max(len(each) for each in pieces(tmp_path / "x")) == PIECE
    assert digest_of(tmp_path / "x", "sha512") == Digest.of(content, "sha512")


def test_an_upload_that_is_resumed_hashes_as_one(tmp_path: Path) -> None:
    first = Incoming.new(tmp_path / "x", "sha256")
    first.write(b"one " * 300_000)
    second = Incoming.resume(tmp_path / "x", "sha256")
    second.write(b"two")
    assert second.digest() == Digest.of(b"one " * 300_000 + b"two")
    assert digest_of(second.path, "sha512") == Digest.of(b"one " * 300_000 + b"two", "sha512")


@pytest.mark.attack("A-tiny-chunks")
async def test_small_chunks_are_gathered_and_none_is_lost() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5000):
            yield b"x" * 1000

    sizes = [len(each) async for each in gathered(chunks())]
    assert sum(sizes) == 5_000_000
    assert len(sizes) == 5
    before: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        async for piece in gathered(cut(b"a", b"b")):
            before.append(bytes(piece))
    assert before == [b"ab"]


async def sent(*values: bytes) -> AsyncIterator[bytearray]:
    for value in values:
        yield bytearray(value)


async def test_writes_overlap_with_the_sender_but_never_with_each_other() -> None:
    running, written = 0, []

    async def write(piece: bytearray) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        written.append(bytes(piece))

    await overlapped(sent(b"1", b"2", b"3"), write)
    assert written == [b"1", b"2", b"3"]


@pytest.mark.parametrize("failing", [1, 3])
async def test_a_failed_write_ends_the_stream(failing: int) -> None:
    written = []

    async def write(piece: bytearray) -> None:
        written.append(bytes(piece))
        if len(written) == failing:
            raise SizeInvalid("too much")

    with pytest.raises(SizeInvalid):
        await overlapped(sent(b"1", b"2", b"3"), write)
    assert len(written) == failing


async def test_a_write_that_has_begun_ends_before_anyone_goes_on() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def write(piece: bytearray) -> None:
        begun.set()
        await go_on.wait()
        ended.append(bytes(piece))

    async def endless() -> AsyncIterator[bytearray]:
        yield bytearray(b"1")
        await asyncio.Event().wait()

    task = asyncio.create_task(overlapped(endless(), write))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [b"1"]
