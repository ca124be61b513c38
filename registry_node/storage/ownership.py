"""Who may use a data folder: one node, whose processes write in turns.

    <data>/lock    one node owns the folder; worker processes that it forks inherit the lock
    <data>/turn    the process that is writing to index and journal now

Both are flocks: the kernel gives them back when a process ends, however it ends. So is the one on the file of an
upload session, which a client may continue in another process than the one where it began (``alone``).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oci_wire.errors import BlobUploadUnknown, RangeInvalid, Unavailable
from registry_node.storage.errors import DataFolderInUse, unusable

TURN_SECONDS = 30.0  # that a writer waits for the others
_PIECE_SECONDS = 10.0  # that one piece of an upload waits for another process
_DYING_SECONDS = 5.0  # that the workers of a killed node may take to end
_NAP = 0.001


class Ownership:
    """A data folder that is ours until ``close``."""

    def __init__(self, lock: int) -> None:
        self._lock = lock

    @classmethod
    def take(cls, folder: Path) -> Ownership:
        """Makes the folder when it is missing. Raises DataFolderInUse, DataFolderUnusable."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(folder, error) from error
        if not _locked(lock, 0) and not _locked_after_its_owner_died(lock):
            owner = _owner(lock) or "unknown"
            os.close(lock)
            raise DataFolderInUse(
                f"{folder}: another node runs on this data folder (process {owner}); stop it, or give this node its own"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return cls(lock)

    def close(self) -> None:
        """Twice is no error. Processes that inherited the lock keep it."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1


class Turn:
    """The right to write to index and journal, which the processes of a node pass round. One thread uses it.

    The file is empty, or has a byte since the disk failed one of them: what that one wrote is lost to all, and another
    one's fsync might not say so, so none writes any more."""

    def __init__(self, folder: Path, *, first: bool = False) -> None:
        """``first``: of a node that starts."""
        # opened by each process for itself: a flock belongs to what open(2) gave
        self._file = os.open(folder / "turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if first:
            os.ftruncate(self._file, 0)

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Raises Unavailable when another process does not give it up."""
        if not _locked(self._file, TURN_SECONDS):
            raise Unavailable("another process of this node is busy writing; try again", retry_after=1.0)
        try:
            if os.pread(self._file, 1, 0):
                raise Unavailable("this node only reads since its disk failed; check the disk, restart")
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def end(self) -> None:
        """The disk has failed: nobody gets the turn any more."""
        with suppress(OSError):  # what can no longer be written to lets the others know by itself
            os.pwrite(self._file, b"!", 0)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


@contextmanager
def alone(path: Path, size: int) -> Iterator[int]:
    """An upload's file, open for appending and ours alone meanwhile. ``size``: what we believe that it holds.

    Raises RangeInvalid when another process has added to it, BlobUploadUnknown when one has finished or cancelled it
    (what lies under its name in ``blobs`` by then must not grow), Unavailable, OSError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _ended() from None
    try:
        if not _locked(file, _PIECE_SECONDS):
            raise Unavailable("another process of this node is busy with this upload; try again", retry_after=1.0)
        _check_ours(os.fstat(file), path, size)
        yield file
    finally:
        os.close(file)


def _check_ours(found: os.stat_result, path: Path, size: int) -> None:
    try:
        named = path.stat()
    except FileNotFoundError:
        raise _ended() from None
    if (named.st_dev, named.st_ino) != (found.st_dev, found.st_ino):
        raise _ended()
    if found.st_size != size:
        raise RangeInvalid("another request took this upload over; ask for its status")


def _ended() -> BlobUploadUnknown:
    return BlobUploadUnknown("this upload session has ended: another request finished or cancelled it")


def _locked(file: int, seconds: float) -> bool:
    """Whether the lock was had in time."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_NAP)


def _locked_after_its_owner_died(lock: int) -> bool:
    """The workers of a killed supervisor end by themselves, a moment later."""
    owner = _owner(lock)
    return owner.isdigit() and not _runs(int(owner)) and _locked(lock, _DYING_SECONDS)


def _owner(lock: int) -> str:
    return os.pread(lock, 20, 0).decode(errors="replace").strip()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
