"""A local member of this host, read by its files: its index as it is now and its content (storage/neighbour.py).

What its own process would say, it says at once, also while that process is down: the index is the truth, and blobs are
known by their digests. Whatever cannot be read - another version's index, a folder that is gone, a node that starts - is
asked over HTTP, without a word; and so are all writes and lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar, cast

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, Internal, ManifestUnknown, NameUnknown, Unavailable
from oci_wire.extension import Explanation, held_here
from oci_wire.manifest import Manifest
from oci_wire.registry import BlobStream, ByteRange, Call
from registry_node.registries.through import Through, Whole
from registry_node.registries.virtual.doors import Port
from registry_node.storage.files import pieces
from registry_node.storage.neighbour import Folder, Neighbour

T = TypeVar("T")


class Nearby(Through):
    """``client``: the same member over HTTP; ``namespace``: stands before every name there. ``reached`` is no part of
    what a member is asked (reach.py)."""

    def __init__(self, client: Port, name: str, folder: Path, namespace: str = "") -> None:
        super().__init__(cast(Whole, client))
        self.name, self._folder, self._namespace = name, Folder(folder), namespace

    def there(self, repository: str) -> str:
        return f"{self._namespace}/{repository}" if self._namespace else repository

    def reads(self) -> Neighbour | None:
        """None: not by its files, now."""
        return self._folder.reads()

    def _told(self, call: Call, ask: Callable[[Neighbour], T]) -> T | None:
        """None: it cannot say. Raises what it says."""
        call.remaining()
        reads = self.reads()
        try:
            return None if reads is None else ask(reads)
        except (Unavailable, Internal):
            return None

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        found = self._told(call, lambda reads: reads.resolve(self.there(repository), reference))
        return found or await super().resolve(call, repository, reference)

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        def read(reads: Neighbour) -> Manifest:
            found = reads.resolve(self.there(repository), reference)
            return Manifest.parse(reads.body(found.digest), found.media_type, algorithm=found.digest.algorithm)

        return self._told(call, read) or await super().get_manifest(call, repository, reference)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        found = self._told(call, lambda reads: self._blob(reads, repository, digest))
        return found[0] if found else await super().stat_blob(call, repository, digest)

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        found = self._told(call, lambda reads: self._blob(reads, repository, digest))
        if found is None:
            return await super().open_blob(call, repository, digest, span)
        start, stop = (span or ByteRange()).within(found[0].size)
        return BlobStream(found[0], start, stop, _bytes_of(found[1], start, stop), found[1])

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        def read(reads: Neighbour) -> Explanation:
            try:
                found = reads.resolve(self.there(repository), reference)
            except (ManifestUnknown, NameUnknown):
                return held_here(self.name, repository, reference, None, None)
            pushed = reads.set_at(self.there(repository), reference)
            return held_here(self.name, repository, reference, found.digest, pushed)

        return self._told(call, read) or await super().why(call, repository, reference)

    def _blob(self, reads: Neighbour, repository: str, digest: Digest) -> tuple[Descriptor, Path]:
        found = reads.blob(self.there(repository), digest)
        if reads.files.size(digest) != found.size:
            raise BlobUnknown(f"the bytes of {digest} are lost at {self.name}")
        return found, reads.files.path(digest)


async def _bytes_of(path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
    left = pieces(path, start, stop)
    try:
        while piece := await asyncio.to_thread(next, left, b""):
            start += len(piece)
            yield piece
    finally:
        left.close()
    if start < stop:
        raise Internal(f"{stop - start} bytes at the end of {path.name} are missing")
