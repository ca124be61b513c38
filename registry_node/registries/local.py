"""The registry that hosts content: the whole port on the files and the index of one data folder."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, Internal, ManifestInvalid
from oci_wire.manifest import Manifest
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import BlobStream, ByteRange, Call, Page
from registry_node.registries.local_extension import LocalExtension
from registry_node.registries.local_uploads import LocalUploads
from registry_node.settings import Limits, Rules
from registry_node.storage import blobs, changes, listings, reachability
from registry_node.storage.changes import Author, Transaction
from registry_node.storage.files import pieces
from registry_node.storage.history import Kept
from registry_node.storage.incoming import whole
from registry_node.storage.rules import Rule
from registry_node.storage.rules.holds import held
from registry_node.storage.rules.immutable import immutable
from registry_node.storage.rules.quota import quota
from registry_node.storage.sql import Connection
from registry_node.storage.store import Store


class LocalRegistry(LocalUploads, LocalExtension):
    """Satisfies ``Registry`` and ``Extension``. Open it with ``open``, use it from one event loop, close it."""

    def __init__(self, store: Store, rules: Rules, limits: Limits, node: str, scope: str) -> None:
        LocalUploads.__init__(self, store, rules, limits)
        LocalExtension.__init__(self, store, node, scope)
        self._store = store
        self._rules = rules
        self.folder = store.folder
        self.reads = store.reads  # the short way: resolve, body, blob, blob_sources without a thread

    @classmethod
    def open(
        cls,
        data: Path,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        node: str = "local",
        scope: str = "local",
        clock: Callable[[], float] = time.time,
        shared: bool = False,
        dsn: str | None = None,
    ) -> LocalRegistry:
        """Makes the folder when it is missing, brings its index up to date, and owns it until ``close``. ``shared``:
        our parent process has done so (``Store.prepare``) for several processes, and owns it. ``dsn``: of an index in
        PostgreSQL.

        Raises CannotOpen (storage/errors.py)."""
        kept = Kept(limits.history_changes, limits.receipt_days)
        store = Store.open(data, _guards(rules), clock, dsn, kept, shared=shared)
        return cls(store, rules, limits, node, scope)

    def close(self) -> None:
        """Waits for what is being written. Upload sessions stay for the next process."""
        self._store.close()

    # Reader

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        call.remaining()
        return self.reads.resolve(check_repository(repository), _check_reference(reference))

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        found = await self.resolve(call, repository, reference)
        return Manifest.parse(self.reads.body(found.digest), found.media_type, algorithm=found.digest.algorithm)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        """Also looks at the file: an index that outlived its files must not let a client skip an upload."""
        call.remaining()
        found = self.reads.blob(check_repository(repository), digest)
        if self._store.files.size(digest) != found.size:
            raise BlobUnknown(f"the bytes of {digest} are lost on this node; push them again")
        return found

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        found = await self.stat_blob(call, repository, digest)
        start, stop = (span or ByteRange()).within(found.size)
        path = self._store.files.path(digest)
        return BlobStream(found, start, stop, self._bytes_of(path, start, stop), path)

    async def _bytes_of(self, path: Path, start: int, stop: int) -> AsyncIterator[bytes]:
        left = pieces(path, start, stop)
        try:
            while piece := await whole(self._store.from_disk("a blob", next, left, b"")):
                start += len(piece)
                yield piece
        finally:
            left.close()
        if start < stop:
            raise Internal(f"{stop - start} bytes at the end of {path.name} are missing on this node's disk")

    # Writer

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        """``source`` None mounts from any repository: whoever calls has checked which ones the caller may read
        (``reads.blob_sources``)."""
        call.remaining()
        check_repository(repository)

        def work(unit: Transaction) -> bool:
            size = blobs.blob_size(unit.tx, digest, source)
            if size is None or self._store.files.size(digest) != size:
                return False
            blobs.add_blob(unit, repository, digest, size)
            return True

        return await self._store.write(work)

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        """An image's blobs and an index's manifests come first, unless the rules allow it to be sparse."""
        call.remaining()
        check_repository(repository)
        wanted = tuple(dict.fromkeys(check_tag(tag) for tag in tags))
        if Digest.of(manifest.content, manifest.digest.algorithm) != manifest.digest:
            raise ManifestInvalid(f"these bytes are not {manifest.digest}")
        await self._store.read(lambda tx: self._require(tx, repository, manifest))
        await self._store.on_disk("a manifest", self._store.files.put, manifest.content, manifest.digest)
        author = Author(call.identity)

        def work(unit: Transaction) -> None:
            self._require(unit.tx, repository, manifest)
            changes.add_manifest(unit, repository, manifest, author)
            for tag in wanted:
                changes.set_tag(unit, repository, tag, str(manifest.digest), author)

        await self._store.write(work)
        return manifest.descriptor

    def _require(self, tx: Connection, repository: str, manifest: Manifest) -> None:
        if not self._rules.sparse_images:
            blobs.require_blobs(tx, repository, manifest.blobs)
        if not self._rules.sparse_indexes:
            blobs.require_children(tx, repository, manifest.children)

    # Lister

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        call.remaining()
        return await self._store.read(lambda tx: listings.repository_names(tx, after, limit))

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        call.remaining()
        check_repository(repository)
        return await self._store.read(lambda tx: listings.tag_names(tx, repository, after, limit))

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        call.remaining()
        check_repository(repository)
        return await self._store.read(lambda tx: listings.referrers(tx, repository, digest, artifact_type, after))

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        call.remaining()
        return await self._store.read(lambda tx: reachability.reached(tx, repository, str(digest), wanted))

    # Deleter

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        call.remaining()
        check_repository(repository)
        check_tag(tag)
        await self._store.write(lambda unit: changes.delete_tag(unit, repository, tag, Author(call.identity)))

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        call.remaining()
        check_repository(repository)
        await self._store.write(lambda unit: changes.delete_manifest(unit, repository, digest, Author(call.identity)))

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        call.remaining()
        check_repository(repository)
        await self._store.write(lambda unit: blobs.delete_blob(unit, repository, digest))


def _guards(rules: Rules) -> tuple[Rule, ...]:
    """The rules that must see the index, in the order in which they refuse."""
    guards: list[Rule] = [immutable(rules.immutable_tags)] if rules.immutable_tags else []
    guards.append(held)
    if rules.quota_bytes is not None:
        guards.append(quota(rules.quota_bytes))
    return tuple(guards)


def _check_reference(reference: str) -> str:
    if ":" not in reference:
        return check_tag(reference)
    return str(Digest.parse(reference))
