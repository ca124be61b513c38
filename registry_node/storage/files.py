"""Content on disk, by digest. A file under ``blobs`` is whole, verified and durable, or it is not there.

    blobs/<algorithm>/<first two hex digits>/<hex>   content
    uploads/<session>                                bytes of an upload session
    temp/<process>-<random>                          bytes in flight; gone with their process

The three lie in one file system, so that a rename puts content in place in one step. Order of a write: bytes,
fsync, rename, fsync of the folder; the index learns of it only after that. A mirror's manifests are served out of the
index; their files are for replay alone, which hashes them, so nobody waits until they are durable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from uuid import uuid4

from oci_wire.digest import Digest, new_hasher

# Writes of 128 KB and more cost 0.06-1.0 s of CPU at random on some virtual machines.
SLICE = 64 * 1024
# What a hash takes at once: large enough that releasing the GIL pays.
PIECE = 1024 * 1024
WRITEBACK = 8 * 1024 * 1024


class BlobFiles:
    """The content store of one data folder."""

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.uploads = root / "uploads"
        self.temp = root / "temp"

    def prepare(self) -> None:
        """Makes the folders and drops what a killed process left in flight."""
        for folder in (self.blobs, self.uploads, self.temp):
            folder.mkdir(parents=True, exist_ok=True)
        for left in self.temp.iterdir():
            left.unlink()
        self._fan_out(self.blobs / "sha256")
        for folder in (self.blobs, self.blobs.parent):
            sync_folder(folder)

    def _fan_out(self, folder: Path) -> None:
        """Makes the folders of all first bytes now, so that no push has to make one durable."""
        folder.mkdir(exist_ok=True)
        if len(list(folder.iterdir())) < 256:
            for number in range(256):
                (folder / f"{number:02x}").mkdir(exist_ok=True)
            sync_folder(folder)

    def keep_uploads(self, sessions: set[str]) -> None:
        """Drops the bytes of all other sessions: a power cut took their rows back."""
        for left in self.uploads.iterdir():
            if left.name not in sessions:
                left.unlink()

    def path(self, digest: Digest) -> Path:
        return Path(self._name(digest.algorithm, digest.hex))

    def content(self, digest: str, size: int) -> bytes | None:
        """A small file; None when it is not there whole. The digest as text: this is asked for with every small read."""
        algorithm, _, encoded = digest.partition(":")
        try:
            file = os.open(self._name(algorithm, encoded), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            content = os.read(file, size + 1)
        except OSError:
            return None
        finally:
            os.close(file)
        return content if len(content) == size else None

    def _name(self, algorithm: str, encoded: str) -> str:
        return f"{self.blobs}/{algorithm}/{encoded[:2]}/{encoded}"

    def upload_path(self, session: str) -> Path:
        return self.uploads / session

    def temp_path(self) -> Path:
        return self.temp / f"{os.getpid()}-{uuid4().hex}"

    def forget_process(self, process: int) -> None:
        """Drops what a process that has ended left in flight."""
        for left in self.temp.glob(f"{process}-*"):
            left.unlink(missing_ok=True)

    def size(self, digest: Digest) -> int | None:
        """Bytes on disk, None when there is no such file."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def keep(self, incoming: Path, digest: Digest, *, durable: bool = True) -> None:
        """Puts a file whose digest was verified in place, durably. The same content twice is no error."""
        target = self.path(digest)
        self._folder(target.parent)
        if not durable:
            incoming.replace(target)
            return
        with incoming.open("rb") as file:
            os.fsync(file.fileno())
        incoming.replace(target)
        sync_folder(target.parent)

    def put(self, content: bytes, digest: Digest, *, durable: bool = True) -> None:
        """Small content (a manifest) whose digest was verified. ``durable`` False: power may fail before it is."""
        if self.size(digest) == len(content):
            return
        temp = self.temp_path()
        try:
            append(temp, content)
            self.keep(temp, digest, durable=durable)
        finally:
            temp.unlink(missing_ok=True)

    def _folder(self, folder: Path) -> None:
        """A new folder is durable only when its parent has been synced."""
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        sync_folder(self.blobs)


def append(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Adds bytes at the end of a file, which is made when missing. After an error the file is as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        append_to(descriptor, content)
    finally:
        os.close(descriptor)


def append_to(descriptor: int, content: bytes | bytearray | memoryview) -> None:
    """The same for a file that is open already."""
    before = os.fstat(descriptor).st_size
    try:
        _write_all(descriptor, memoryview(content))
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _write_all(descriptor: int, content: memoryview) -> None:
    position = 0
    while position < len(content):
        position += os.write(descriptor, content[position : position + SLICE])


def start_writeback(path: Path, before: int, after: int) -> None:
    """Lets the kernel begin to write what a growing file has gained, every WRITEBACK bytes, so that the fsync at its
    end is short. A hint: without sync_file_range (Linux) nothing happens."""
    if before // WRITEBACK == after // WRITEBACK or (begin := _writeback()) is None:
        return
    start = before // WRITEBACK * WRITEBACK
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        begin(descriptor, start, after - start)
    finally:
        os.close(descriptor)


@cache
def _writeback() -> Callable[[int, int, int], int] | None:
    """``f(descriptor, offset, bytes)``: sync_file_range(2) with SYNC_FILE_RANGE_WRITE, where the system has it."""
    import ctypes  # noqa: PLC0415 - with the first large blob that comes in

    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is None:
        return None
    return lambda file, start, size: found(file, ctypes.c_int64(start), ctypes.c_int64(size), ctypes.c_uint(2))


def pieces(path: Path, start: int = 0, stop: int | None = None) -> Generator[bytes, None, None]:
    """The bytes of a file, PIECE by PIECE."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = (os.fstat(file.fileno()).st_size if stop is None else stop) - start
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece


def digest_of(path: Path, algorithm: str) -> Digest:
    """Hashes a file without holding it in memory."""
    hasher = new_hasher(algorithm)
    for piece in pieces(path):
        hasher.update(piece)
    return Digest(algorithm, hasher.hexdigest())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
