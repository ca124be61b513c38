"""The copies: a node's own storage, filled by the mirror itself. The rules for people's pushes do not apply.

A copy is one of a *repository* (under the name that ``Sources.key`` gives it): what another one has is served from here
only once an upstream, or a cached manifest of this repository, has said that it belongs here - and only if it came from
that same upstream. Whoever makes manifests can name what they do not have: with another upstream's bytes they would be
given what they were never allowed to see.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown, RegistryError
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from registry_node.recent import Recent
from registry_node.registries.local import LocalRegistry
from registry_node.registries.mirror.freshness import Check
from registry_node.registries.mirror.placing import Placing
from registry_node.storage import blobs, cached, changes
from registry_node.storage.cached import CachedTag
from registry_node.storage.changes import Author, Transaction
from registry_node.storage.sql import Connection
from registry_node.storage.store import Store

log = logging.getLogger(__name__)
_AUTHOR = Author("towpath-mirror")
CACHE = Call("towpath-mirror")  # for questions to our own storage
_HALF = 1024  # manifests of which it is known which of their layers lie elsewhere
_MAY_SAY_SO = re.compile(rb"urls|foreign|nondistributable|\\u")  # parsing costs more than looking
Urls = dict[str, tuple[str, ...]]


class Giver(NamedTuple):
    """The upstream that gave a manifest, and how many bytes that says that a blob of it has. ``urls``: where else it
    says that the blob lies. ``held``: it does not lie elsewhere, which registries let anybody say of anything."""

    upstream: str
    size: int
    urls: tuple[str, ...] = ()
    held: bool = True


class Cache:
    """``local`` reads the copies. Belongs to one event loop."""

    def __init__(self, local: LocalRegistry, store: Store, placing: Placing) -> None:
        self.local, self.store, self._placing = local, store, placing
        self._layers: Recent[str, Urls] = Recent(_HALF)

    # Manifests

    async def manifest(self, repository: str, digest: Digest) -> Manifest | None:
        with suppress(ManifestUnknown, NameUnknown):
            return await self.local.get_manifest(CACHE, repository, str(digest))
        return None

    async def descriptor(self, repository: str, digest: Digest) -> Descriptor | None:
        with suppress(ManifestUnknown, NameUnknown):
            return await self.local.resolve(CACHE, repository, str(digest))
        return None

    async def adopt(self, repository: str, digest: Digest) -> Manifest | None:
        """A manifest that lies here for another repository and that a cached index of this one names: ours as well."""
        giver = await self.store.read(lambda tx: cached.giver_of_child(tx, repository, str(digest)))
        known = await self.store.read(lambda tx: cached.any_manifest(tx, str(digest))) if giver else None
        if giver is None or known is None or not await self._is_from(cached.manifest_came_from, digest, giver):
            return None
        manifest = Manifest.parse(known.body, known.media_type, algorithm=digest.algorithm)
        await self.keep(repository, manifest, giver)
        return manifest

    async def keep(self, repository: str, manifest: Manifest, upstream: str) -> bool:
        """Stores it. False when that cannot be done now (the disk is full): it can be served all the same."""

        def work(unit: Transaction) -> None:
            _add(unit, repository, manifest, upstream)

        return await self._kept(f"{repository}@{manifest.digest}", manifest, work)

    async def keep_tag(self, repository: str, tag: str, known: Check, manifest: Manifest | None) -> bool:
        """Points a tag at a manifest that is here, or is stored with it, and writes down who said so and when."""

        def work(unit: Transaction) -> None:
            if manifest is not None:
                _add(unit, repository, manifest, known.upstream)
            changes.set_tag(unit, repository, tag, known.digest, _AUTHOR)
            row = CachedTag(known.digest, known.upstream, known.checked_at, known.gone_at)
            cached.put_tag(unit, repository, tag, row)

        return await self._kept(f"{repository}:{tag}", manifest, work)

    async def _kept(self, what: str, manifest: Manifest | None, work: Callable[[Transaction], None]) -> bool:
        try:
            if manifest is None:
                await self.store.write(work, durable=False)
                return True
            async with self._placing.put(str(manifest.digest)):
                put = self.store.files.put
                await self.store.on_disk("a manifest", put, manifest.content, manifest.digest, durable=False)
                await self.store.write(work, durable=False)
        except RegistryError as error:
            log.warning("%s is served and not cached: %s", what, error)
            return False
        return True

    # Tags

    async def tag(self, repository: str, tag: str) -> Check | None:
        row = await self.store.read(lambda tx: cached.tag(tx, repository, tag))
        return None if row is None else Check(row.digest, row.upstream, row.checked_at, row.gone_at)

    async def forget_tag(self, repository: str, tag: str) -> None:
        def work(unit: Transaction) -> None:
            cached.drop_tag(unit, repository, tag)
            with suppress(ManifestUnknown, NameUnknown):
                changes.delete_tag(unit, repository, tag, _AUTHOR)

        with suppress(RegistryError):  # a disk that takes no writes: it is not believed all the same
            await self.store.write(work, durable=False)

    # Blobs

    def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """One of this repository that is here whole."""
        size = self.store.reads.blob_size(repository, str(digest))
        here = size is not None and self.store.files.size(digest) == size
        return Descriptor(OCTET_STREAM, digest, size) if size is not None and here else None

    def blob_elsewhere(self, digest: Digest) -> int | None:
        """Bytes of a blob that lies here whole for some repository."""
        sources = self.store.reads.blob_sources(digest, limit=1)
        if not sources:
            return None
        size = self.store.reads.blob(sources[0], digest).size
        return size if self.store.files.size(digest) == size else None

    def giver(self, repository: str, digest: Digest) -> Giver | None:
        """Who gave the cached manifest of this repository that names a blob, and the size that it says."""
        found = self.store.reads.giver(repository, str(digest))
        if found is None:
            return None
        upstream, size, manifest = found
        urls = self._elsewhere(manifest).get(str(digest))
        return Giver(upstream, size) if urls is None else Giver(upstream, size, urls, held=False)

    def _elsewhere(self, manifest: str) -> Urls:
        """Of a cached manifest, by the digests of layers that lie elsewhere."""
        known = self._layers.get(manifest)
        if known is None:
            body = self.store.reads.manifest_bytes(manifest)
            if body is None:  # it has just gone
                return {}
            known = _elsewhere(body)
            self._layers.put(manifest, known)
        return known

    async def blob_came_from(self, digest: Digest, upstream: str) -> bool:
        """Whether a copy that is here is one from this upstream."""
        return await self._is_from(cached.blob_came_from, digest, upstream)

    async def _is_from(self, question: Callable[[Connection, str, str], bool], digest: Digest, upstream: str) -> bool:
        return await self.store.read(lambda tx: question(tx, str(digest), upstream))

    async def link_blob(self, repository: str, digest: Digest, size: int, giver: str) -> bool:
        """Makes a blob whose bytes are here, from this upstream, one of this repository. False when it has gone
        meanwhile, or that cannot be written down now."""

        def work(unit: Transaction) -> bool:
            if blobs.blob_size(unit.tx, digest, None) != size:
                return False
            if not cached.blob_came_from(unit.tx, str(digest), giver):  # it went, and came again from elsewhere
                return False
            blobs.add_blob(unit, repository, digest, size, giver)
            return True

        try:
            return await self.store.write(work, durable=False)
        except RegistryError as error:
            log.warning("%s@%s is not cached: %s", repository, digest, error)
            return False


def _elsewhere(body: bytes) -> Urls:
    if not _MAY_SAY_SO.search(body):
        return {}
    manifest, found = Manifest.parse(body), dict[str, tuple[str, ...]]()
    for each in (*(blob for blob in manifest.blobs if blob.urls), *manifest.foreign):
        found[str(each.digest)] = (*found.get(str(each.digest), ()), *each.urls)
    return found


def _add(unit: Transaction, repository: str, manifest: Manifest, upstream: str) -> None:
    """Under the media type that it had first: the same bytes may come under another one."""
    digest = str(manifest.digest)
    if not changes.has_manifest(unit, unit.ensure_repository(repository), digest):
        changes.add_manifest(unit, repository, manifest, _AUTHOR)
    cached.put_foreign_layers(unit, manifest)
    cached.put_manifest(unit, repository, digest, upstream)
