"""Copies that other nodes of this host hold: read where they lie, before an upstream is asked.

Whoever makes manifests can name what they do not have: a digest that somebody has seen is no right to its bytes. So they
go only to a caller who may pull them of that node itself, from a repository of its that has them and whole, whatever its
tags; each time anew, and only if a cached manifest of the repository here names that digest with that size. For everybody
else it is as if they were not there. And so nothing is copied: as a copy of this mirror's they would be for all who may
pull here. A caller who comes through another registry (a virtual) is known here as that registry's robot: not served so.

What is read for the first time is hashed on its way, its last piece withheld until the digest matches.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from identity.grants import Action, Grant, Principal, allowed_for_every_tag
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, DigestInvalid, RegistryError, SizeInvalid, Unavailable
from oci_wire.registry import BlobStream, ByteRange, Call, once
from oci_wire.streams import Owned
from oci_wire.verify import verified
from registry_node.recent import Recent
from registry_node.settings.mirror import Neighbour
from registry_node.storage.files import PIECE
from registry_node.storage.neighbour import Folder
from registry_node.storage.neighbour import Neighbour as Reads

log = logging.getLogger(__name__)
MEMBER = "x-towpath-member"  # as a virtual says who answered
SMALL = 256 * 1024  # bytes that are verified before any of them goes out
_HALF = 8192  # files of which it is known whether they are what they are called
_PAGE, _PAGES = 100, 10  # of repositories that hold one blob, as far as one is looked for that the caller may pull from

Mark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """``mark``: device, inode, time of the last change and size of its file."""

    neighbour: str
    digest: Digest
    path: Path
    mark: Mark

    @property
    def size(self) -> int:
        return self.mark[3]

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(OCTET_STREAM, self.digest, self.size)


class _Beside:
    def __init__(self, declared: Neighbour) -> None:
        self.name, self.folder = declared.name, Folder(declared.data)
        self._grants: tuple[Grant, ...] = tuple(each.grant() for each in declared.grants)

    def copy(self, who: Principal, digest: Digest, size: int) -> Copy | None:
        reads = self.folder.reads()
        if reads is None:
            return None
        try:
            if not any(self._holds(reads, each, digest, size) for each in self._repositories(reads, who, digest)):
                return None
            path = reads.files.path(digest)
            found = path.stat()
        except (RegistryError, OSError):  # it starts, is of another version, or has just let go of it
            return None
        mark = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
        return Copy(self.name, digest, path, mark) if found.st_size == size else None

    def _holds(self, reads: Reads, repository: str, digest: Digest, size: int) -> bool:
        try:
            return reads.blob(repository, digest).size == size
        except BlobUnknown:
            return False

    def _repositories(self, reads: Reads, who: Principal, digest: Digest) -> Iterator[str]:
        """Those that have it, and of which the caller may pull every digest."""
        after = ""
        for _ in range(_PAGES):
            names = reads.blob_sources(digest, after=after, limit=_PAGE)
            yield from (each for each in names if allowed_for_every_tag(self._grants, who, Action.PULL, each))
            if len(names) < _PAGE:
                return
            after = names[-1]


class Neighbours:
    """Belongs to one event loop. ``blobs`` and ``bytes``: that were read from each of them."""

    def __init__(self, declared: Iterable[Neighbour]) -> None:
        self._all = tuple(map(_Beside, declared))
        self._right: Recent[tuple[Digest, Mark], bool] = Recent(_HALF)
        self.blobs: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._all)

    def find(self, call: Call, digest: Digest, size: int) -> Copy | None:
        """One that this caller may read. ``size``: as the manifest says."""
        if len(call.via) > 1:  # the last one is this node
            return None
        who = Principal(call.identity, call.groups, call.robot)
        found = (each.copy(who, digest, size) for each in self._all)
        return next(
            (each for each in found if each is not None and self._right.get((digest, each.mark)) is not False), None
        )

    async def open(self, call: Call, digest: Digest, size: int, span: ByteRange | None) -> BlobStream | None:
        """None: it is to be had elsewhere. Raises RangeInvalid."""
        copy = self.find(call, digest, size)
        known = copy is not None and self._right.get((digest, copy.mark)) is True
        start, stop = (span or ByteRange()).within(size) if copy is not None else (0, 0)
        if copy is None or not (known or (start, stop) == (0, size)):  # a part does not prove itself
            return None
        try:
            stream = await self._opened(copy, start, stop, known=known)
        except (OSError, DigestInvalid, SizeInvalid, Unavailable) as error:
            log.warning("%s is not read of %s: %s", digest, copy.neighbour, error)
            return None
        self.blobs[copy.neighbour] += 1
        self.bytes[copy.neighbour] += stream.length
        call.notes[MEMBER] = copy.neighbour
        return stream

    async def _opened(self, copy: Copy, start: int, stop: int, *, known: bool) -> BlobStream:
        file = await asyncio.to_thread(copy.path.open, "rb", buffering=0)

        async def end() -> None:
            file.close()

        plain = Owned(_pieces(file, start, stop), end)
        if known:
            return BlobStream(copy.descriptor, start, stop, plain, copy.path)
        checked = Owned(self._checked(copy, plain), plain.aclose)
        stream = BlobStream(copy.descriptor, start, stop, checked)
        return stream if stop > SMALL else BlobStream(copy.descriptor, start, stop, once(await stream.read()))

    async def _checked(self, copy: Copy, chunks: Owned) -> AsyncIterator[bytes]:
        try:
            async with aclosing(verified(chunks, copy.digest, copy.size)) as right:
                async for chunk in right:
                    yield chunk
        except (DigestInvalid, SizeInvalid):
            self._right.put((copy.digest, copy.mark), False)
            log.error("%s has other bytes than %s; check that node's disk", copy.neighbour, copy.digest)
            raise
        self._right.put((copy.digest, copy.mark), True)


async def _pieces(file: FileIO, start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        piece = await asyncio.to_thread(os.pread, file.fileno(), min(PIECE, stop - start), start)
        if not piece:
            raise Unavailable("a copy at a neighbour ended before its end; ask again", retry_after=1.0)
        start += len(piece)
        yield piece
