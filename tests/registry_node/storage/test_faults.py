"""A disk that is full or broken: a clear error, nothing half done, and no second try after a failed fsync."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, InsufficientStorage, Internal, ManifestUnknown, Unavailable
from oci_wire.registry import once
from registry_node.registries.local import LocalRegistry
from registry_node.storage import files
from registry_node.storage.errors import Health, in_port_words
from tests.databases import limit_pages
from tests.registry_node.pushes import CI, manifest_of, put_blob, put_image


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalRegistry]:
    registry = LocalRegistry.open(tmp_path)
    yield registry
    registry.close()


def failing(code: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


async def test_no_space_for_a_blob_and_then_space_again(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_blob(local, "a", b"before")
    with monkeypatch.context() as full:
        full.setattr(files.os, "write", failing(errno.ENOSPC))
        with pytest.raises(InsufficientStorage, match="no space is left"):
            await put_blob(local, "a", b"content")
    assert list(local.folder.glob("temp/*")) == []
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "a", Digest.of(b"content"))
    await put_blob(local, "a", b"content")


async def test_no_space_in_the_middle_of_a_chunk_leaves_the_session_as_it_was(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await local.start_upload(CI, "a")
    await local.append(CI, "a", upload.id, once(b"before "))
    write, calls = os.write, []

    def second_slice_fails(descriptor: int, content: bytes) -> int:
        calls.append(descriptor)
        return write(descriptor, content) if len(calls) == 1 else failing(errno.ENOSPC)()

    with monkeypatch.context() as full:
        full.setattr(files.os, "write", second_slice_fails)
        with pytest.raises(InsufficientStorage):
            await local.append(CI, "a", upload.id, once(b"x" * 200_000), start=7)
    assert len(calls) == 2
    assert (await local.upload_status(CI, "a", upload.id)).offset == 7
    digest = Digest.of(b"before after")
    await local.finish_upload(CI, "a", upload.id, digest, once(b"after"), start=7)
    assert await (await local.open_blob(CI, "a", digest)).read() == b"before after"


@pytest.mark.parametrize("where", ["file", "folder"])
async def test_a_failed_fsync_is_never_tried_again(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    image = await put_image(local, "a", b"layer", tags=["v1"])
    with monkeypatch.context() as broken:
        if where == "file":
            broken.setattr(files.os, "fsync", failing(errno.EIO))
        else:
            broken.setattr(files, "sync_folder", failing(errno.EIO))
        with pytest.raises(Unavailable, match="the disk failed"):
            await put_blob(local, "a", b"content")
    with pytest.raises(Unavailable, match="only reads since its disk failed"):  # although the disk says yes again
        await put_blob(local, "a", b"content")
    with pytest.raises(Unavailable, match="only reads"):
        await local.delete_tag(CI, "a", "v1")
    assert (await local.get_manifest(CI, "a", "v1")).content == image.content
    assert await (await local.open_blob(CI, "a", Digest.of(b"layer"))).read() == b"layer"
    with pytest.raises(BlobUnknown):
        await local.stat_blob(CI, "a", Digest.of(b"content"))


async def test_no_space_for_the_journal_is_not_acknowledged_and_heals(
    local: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await put_image(local, "a", b"one")
    with monkeypatch.context() as full:
        full.setattr("registry_node.storage.journal.append", failing(errno.ENOSPC))
        with pytest.raises(InsufficientStorage):
            await local.put_manifest(CI, "a", one, tags=["v1"])
    await local.put_manifest(CI, "a", one, tags=["v2"])
    lines = (local.folder / "journal.ndjson").read_text()
    assert lines.count('"tag":"v1"') == lines.count('"tag":"v2"') == 1


async def test_no_space_for_the_index(local: LocalRegistry) -> None:
    """SQLite's own limit stands in for a full disk: same error, same way back."""
    one = await put_image(local, "a", b"one")
    metadata = local._store.metadata
    with metadata.writing() as tx:
        pages = tx.execute("PRAGMA page_count").scalar()
    restore = limit_pages(metadata, pages)
    large = manifest_of(b"one", annotations={"large": "x" * 200_000})
    with pytest.raises(InsufficientStorage):
        await local.put_manifest(CI, "a", large, tags=["v1"])
    restore()
    with pytest.raises(ManifestUnknown):
        await local.resolve(CI, "a", "v1")
    await local.put_manifest(CI, "a", large, tags=["v1"])
    assert (await local.resolve(CI, "a", "v1")).digest == large.digest
    assert (await local.get_manifest(CI, "a", str(one.digest))).content == one.content


async def test_an_unreadable_blob_does_not_stop_writes(local: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await put_blob(local, "a", b"content")
    stream = await local.open_blob(CI, "a", digest)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", failing(errno.EIO))
        with pytest.raises(Internal, match="cannot be read"):
            await stream.read()
    await put_blob(local, "a", b"more")


async def test_a_truncated_blob_never_looks_whole(local: LocalRegistry) -> None:
    digest = await put_blob(local, "a", b"x" * 3_000_000)
    stream = await local.open_blob(CI, "a", digest)
    assert stream.path is not None
    os.truncate(stream.path, 1_500_000)
    with pytest.raises(Internal, match="missing on this node's disk"):
        await stream.read()
    with pytest.raises(BlobUnknown):
        await local.open_blob(CI, "a", digest)


@pytest.mark.parametrize(
    ("name", "expected", "stops_writes"),
    [
        ("SQLITE_FULL", InsufficientStorage, False),
        ("SQLITE_IOERR_FSYNC", Unavailable, True),
        ("SQLITE_BUSY", Unavailable, False),
        ("SQLITE_CORRUPT", Internal, False),
        ("SQLITE_MISUSE", Internal, False),
    ],
)
def test_the_databases_errors_in_the_ports_words(name: str, expected: type[Exception], stops_writes: bool) -> None:
    error = sqlite3.OperationalError("said SQLite")
    error.sqlite_errorname = name
    health = Health()
    with pytest.raises(expected), in_port_words(health, "the index"):
        raise error
    assert bool(health.failure) == stops_writes


async def test_writes_wait_for_each_other_and_none_is_lost(local: LocalRegistry) -> None:
    image = await put_image(local, "a")
    names = [f"v{number:03}" for number in range(60)]
    await asyncio.gather(*(local.put_manifest(CI, "a", image, tags=[name]) for name in names))
    assert list((await local.tags(CI, "a")).items) == names
