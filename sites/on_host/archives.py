"""Archives that arrive on stdin behind the order, unpacked while they arrive.

Part of the program ``change`` (on_host/__init__.py puts it into its text).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import signal
import sys
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sites.on_host.files import Refused, fresh_for, remove, sync, sync_all

CHUNK = 1 << 18
PATIENCE = 20  # seconds without a byte
OTHERWISE = "the archive that arrived is not the one that was sent"


def release(path: str, size: int, sha256: str, source: IO[bytes] | None = None) -> None:
    """Unpacks an archive as it arrives, beside its place, and moves it there whole. ``source``: stdin."""
    fresh = fresh_for(path)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o755)
    try:
        unpack(fresh, Arriving(source or sys.stdin.buffer, size), sha256)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # on a full disk the nodes need the room
        raise
    aside = Path(f"{path}.towpath-old")
    remove(str(aside))
    if os.path.lexists(path):  # one that was edited, and nodes run from it: gone for a moment only
        Path(path).rename(aside)
    fresh.rename(path)
    sync(fresh.parent)
    remove(str(aside))


def unpack(fresh: Path, archive: Any, sha256: str) -> None:
    """All of it, on the disk when this returns. ``archive``: an Arriving."""
    try:
        with (
            gzip.GzipFile(fileobj=archive) as unzipped,
            tarfile.open(fileobj=unzipped, mode="r|", bufsize=CHUNK) as tar,
        ):
            tar.extractall(fresh, members=map(plain, tar))  # noqa: S202 - each of them is looked at
        while archive.read(CHUNK):
            pass
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError):
        raise Refused(OTHERWISE) from None
    if archive.left or archive.hash.hexdigest() != sha256:
        raise Refused(OTHERWISE)
    sync_all(fresh)


class Arriving:
    """The next ``left`` bytes of a stream, hashed as they are read. A line that went silent ends it, so that nobody waits
    for this change."""

    def __init__(self, source: IO[bytes], left: int) -> None:
        self.source, self.left, self.hash = source, left, hashlib.sha256()

    def read(self, most: int = CHUNK) -> bytes:
        signal.alarm(PATIENCE)
        try:
            chunk = self.source.read(min(most, self.left))
        finally:
            signal.alarm(0)
        self.hash.update(chunk)
        self.left -= len(chunk)
        return chunk


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    inside = not member.name.startswith("/") and ".." not in member.name.split("/")
    if not inside or not (member.isfile() or member.isdir()):
        raise Refused("the archive holds something that is no plain file inside it")
    return member


def hear_out() -> None:
    """Who still sends is heard to the end: what we said reaches nobody before."""
    rest = Arriving(sys.stdin.buffer, sys.maxsize)
    with suppress(Refused):
        while rest.read():
            pass


def went_silent(*_: object) -> None:
    raise Refused(f"nothing of the archive arrived for {PATIENCE} seconds")
