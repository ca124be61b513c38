"""An OCI image layout folder as a registry of one repository (OCI image-spec 1.1, "Image Layout").

FOLDER/oci-layout                   {"imageLayoutVersion": "1.0.0"}
FOLDER/index.json                   the tagged manifests; a tag is the annotation org.opencontainers.image.ref.name
FOLDER/blobs/ALGORITHM/HEX          manifests and blobs alike

The repository argument of each method is ignored: a layout has no names. Every content is checked against its digest
as it is read and before it is kept. One writer at a time.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, looks_like_digest, new_hasher
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    RangeInvalid,
    SizeInvalid,
    Unsupported,
)
from oci_wire.manifest import OCI_INDEX, Manifest
from oci_wire.reference import check_tag
from oci_wire.registry import BlobStream, ByteRange, Call, Chunks, Page, Upload
from oci_wire.unextended import Unextended

REF_NAME = "org.opencontainers.image.ref.name"
VERSION = {"imageLayoutVersion": "1.0.0"}
_CHUNK = 256 * 1024  # bytes


class LayoutFolder(Unextended):
    """The ``Registry`` port over one folder. Opening a missing folder makes it when ``create`` is set."""

    def __init__(self, root: Path, *, create: bool = False) -> None:
        """Raises ManifestInvalid when the folder is no OCI image layout."""
        self.root = root
        if create and not root.exists():
            root.mkdir(parents=True)
            _write(root / "oci-layout", json.dumps(VERSION).encode())
            self._write_index([])
        if not (root / "oci-layout").is_file():
            raise ManifestInvalid(f"{root} is not an OCI image layout: it has no oci-layout file")

    # Reader

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        return (await self.get_manifest(call, repository, reference)).descriptor

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        found = Digest.parse(reference) if looks_like_digest(reference) else self._tagged(reference)
        try:
            content = self._path(found).read_bytes()
        except FileNotFoundError:
            raise ManifestUnknown(f"manifest {found} is not in {self.root}") from None
        if Digest.of(content, found.algorithm) != found:
            raise DigestInvalid(f"{self._path(found)} does not hold what its name says")
        return Manifest.parse(content, algorithm=found.algorithm)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        try:
            return Descriptor(OCTET_STREAM, digest, self._path(digest).stat().st_size)
        except FileNotFoundError:
            raise BlobUnknown(f"blob {digest} is not in {self.root}") from None

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        described = await self.stat_blob(call, repository, digest)
        start, stop = _bounds(span, described.size)
        return BlobStream(described, start, stop, _read(self._path(digest), start, stop))

    # Writer

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        return self._path(digest).is_file()

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        path = self._path(descriptor.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            await _fill(fresh, descriptor, chunks)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        return descriptor

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        needed = [each.digest for each in (*manifest.blobs, *manifest.children)]
        missing = [str(each) for each in needed if not self._path(each).is_file()]
        if missing:
            raise ManifestBlobUnknown(f"{manifest.digest} needs what is not in {self.root}: {', '.join(missing)}")
        path = self._path(manifest.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, manifest.content)
        self._enlist(manifest, [check_tag(tag) for tag in tags])
        return manifest.descriptor

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        raise _no_sessions()

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        raise _no_sessions()

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        raise _no_sessions()

    async def finish_upload(
        self,
        call: Call,
        repository: str,
        upload_id: str,
        digest: Digest,
        chunks: Chunks | None = None,
        *,
        start: int | None = None,
    ) -> Descriptor:
        raise _no_sessions()

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        raise _no_sessions()

    # Lister

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        raise Unsupported("an OCI image layout has no repository names")

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        names = sorted(each.annotations[REF_NAME] for each in self.entries() if REF_NAME in each.annotations)
        left = [name for name in names if name > after]
        shown = left if limit is None else left[:limit]
        return Page(tuple(shown), shown[-1] if shown and len(shown) < len(left) else None)

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        found: list[Descriptor] = []
        for entry in self.entries():
            with suppress(ManifestUnknown, ManifestInvalid):
                manifest = await self.get_manifest(call, repository, str(entry.digest))
                if manifest.subject and manifest.subject.digest == digest:
                    found.append(manifest.referrer_descriptor)
        return Page(tuple(each for each in found if artifact_type in ("", each.artifact_type)))

    # Deleter

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        self._tagged(tag)
        self._write_index([each.to_json() for each in self.entries() if each.annotations.get(REF_NAME) != tag])

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        raise Unsupported("manifests are not deleted from an OCI image layout: delete the folder")

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        raise Unsupported("blobs are not deleted from an OCI image layout: delete the folder")

    # The folder

    def entries(self) -> list[Descriptor]:
        """What index.json lists. Raises ManifestInvalid."""
        try:
            listed = json.loads((self.root / "index.json").read_bytes()).get("manifests", [])
            return [Descriptor.from_json(each) for each in listed]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ManifestInvalid(f"{self.root / 'index.json'} cannot be read: {error}") from None

    def _tagged(self, tag: str) -> Digest:
        """``""`` means the only entry, as other tools read a layout without a tag."""
        entries = self.entries()
        named = [each for each in entries if each.annotations.get(REF_NAME) == tag]
        if not tag and len(entries) == 1:
            named = entries
        if not named:
            known = ", ".join(sorted(each.annotations.get(REF_NAME, str(each.digest)) for each in entries))
            raise ManifestUnknown(f"{self.root} has no image {tag!r}; it has {known or 'none'}")
        return named[-1].digest

    def _path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex

    def _enlist(self, manifest: Manifest, tags: Sequence[str]) -> None:
        kept = [each for each in self.entries() if each.annotations.get(REF_NAME) not in tags]
        listed = [each.to_json() for each in kept]
        listed += [{**manifest.descriptor.to_json(), "annotations": {REF_NAME: tag}} for tag in tags]
        if manifest.subject and not any(each.digest == manifest.digest for each in kept):
            listed.append(manifest.referrer_descriptor.to_json())
        self._write_index(listed)

    def _write_index(self, listed: list[dict[str, Any]]) -> None:
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed}
        _write(self.root / "index.json", json.dumps(body, indent=2).encode())


def _no_sessions() -> Unsupported:
    return Unsupported("an OCI image layout has no upload sessions: put the whole blob")


def _bounds(span: ByteRange | None, size: int) -> tuple[int, int]:
    if span is None:
        return 0, size
    start = max(0, size + span.start) if span.start < 0 else span.start
    stop = size if span.stop is None else min(span.stop, size)
    if start >= stop and size:
        raise RangeInvalid(f"no bytes {start}-{stop} in a blob of {size}")
    return start, stop


async def _read(path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < stop:
            chunk = await asyncio.to_thread(file.read, min(_CHUNK, stop - start))
            if not chunk:
                raise SizeInvalid(f"{path} ends {stop - start} bytes early")
            start += len(chunk)
            yield chunk


async def _fill(path: Path, descriptor: Descriptor, chunks: Chunks) -> None:
    hasher, size = new_hasher(descriptor.digest.algorithm), 0
    with path.open("wb") as file:
        async for chunk in chunks:
            hasher.update(chunk)
            size += len(chunk)
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(_flush, file.fileno(), file)
    if size != descriptor.size:
        raise SizeInvalid(f"{size} bytes came, {descriptor.size} were announced")
    if hasher.hexdigest() != descriptor.digest.hex:
        raise DigestInvalid(f"the bytes are not those of {descriptor.digest}")


def _flush(number: int, file: Any) -> None:
    file.flush()
    os.fsync(number)


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(path)
