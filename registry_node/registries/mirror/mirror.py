"""The registry that mirrors others: a cache in the node's own storage, filled by what people pull. Nobody pushes to it.

| asked | answered from |
|---|---|
| a tag | the cache while it is fresh (tags.py), else one upstream that says which digest it names now |
| a digest | the cache, else for those who may a neighbour's folder, else once an upstream (manifests.py, copies.py) |
| lists | the upstream; when it does not answer, what is known here (listings.py) |
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NoReturn

from oci_wire.closure import report
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import Unsupported
from oci_wire.extension import ClosureReport, Event, Explanation, Features, TagStates
from oci_wire.manifest import Manifest
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import BlobStream, ByteRange, Call, Chunks, Page, Upload
from oci_wire.unextended import Unextended
from registry_node.registries.local import LocalRegistry
from registry_node.registries.mirror.absent import Absent
from registry_node.registries.mirror.cache import Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.copies import Copies
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.eviction import Evictor
from registry_node.registries.mirror.explained import explain
from registry_node.registries.mirror.fills import Fills
from registry_node.registries.mirror.freshness import Belief
from registry_node.registries.mirror.listings import MirrorListings
from registry_node.registries.mirror.manifests import Manifests
from registry_node.registries.mirror.neighbours import Neighbours
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.reads import MirrorReads
from registry_node.registries.mirror.sources import Sources
from registry_node.registries.mirror.tags import Pointed, Tags
from registry_node.registries.mirror.uses import Uses
from registry_node.settings import Limits, Mirror, Rules
from registry_node.storage.history import Kept
from registry_node.storage.store import Store

FEATURES = ("mirror", "tags", "closure", "events")


class MirrorRegistry(Unextended):
    """Satisfies ``Registry`` and ``Extension``. Open it with ``open``, use it from one event loop, end it with
    ``aclose``, then ``close``."""

    def __init__(self, settings: Mirror, sources: Sources, local: LocalRegistry, store: Store, *, node: str) -> None:
        """``local`` reads the copies that ``store`` holds."""
        self._local, self._sources, self._node, clock = local, sources, node, store.clock
        self._reason = settings.no_pushes(node)
        self.counts = Counts()
        belief = Belief(settings.tag_seconds, settings.negative_seconds, settings.stale_seconds, settings.keep_deleted)
        placing = Placing()
        absent, cache = Absent(settings.negative_seconds, time.monotonic), Cache(local, store, placing)
        self._absent, self._cache, self._settings = absent, cache, settings
        self.fills = Fills(store, placing, self.counts, most=settings.max_bytes, finish_share=settings.finish_share)
        self.fills.blame = sources.blame
        self.upstreams = sources.status
        self._manifests = Manifests(cache, sources, absent, self.counts)
        self.tags_known = Tags(
            *(cache, self._manifests, sources, absent, self.counts),
            belief=belief,
            node=node,
            answer_seconds=settings.answer_seconds,
            clock=clock,
        )
        self.neighbours = Neighbours(settings.neighbours)
        self._copies = Copies(cache, self.fills, sources, absent, placing, neighbours=self.neighbours)
        self._lists = MirrorListings(cache, sources, belief, node=node, clock=clock)
        self.uses = Uses(store)
        self.evictor = Evictor(store, self.fills, self.uses, placing, self.counts, most=settings.max_bytes)
        self.fills.filled = self.evictor.wake
        self.reads = MirrorReads(store.reads, self.tags_known, sources.key, self.uses.note, clock)

    @classmethod
    def open(
        cls,
        data: Path,
        settings: Mirror,
        sources: Sources,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        node: str = "mirror",
        clock: Callable[[], float] = time.time,
        dsn: str | None = None,
    ) -> MirrorRegistry:
        """Makes the data folder when it is missing, and owns it until ``close``. ``clock``: seconds since the epoch;
        ``dsn``: of an index in PostgreSQL. Raises CannotOpen."""
        store = Store.open(data, (), clock, dsn, Kept(limits.history_changes, limits.receipt_days))
        local = LocalRegistry(store, Rules(sparse_images=True), limits, node, node)
        return cls(settings, sources, local, store, node=node)

    def close(self) -> None:
        """Waits for what is being written."""
        self._local.close()

    async def aclose(self) -> None:
        """Ends what is under way."""
        for each in (self.evictor, self.fills, self._manifests, self.tags_known, self._copies, self._lists):
            each.stop()
        await self.uses.flush()
        await self._sources.aclose()

    def _place(self, call: Call, repository: str) -> Place:
        """Raises NameInvalid, NameUnknown."""
        call.remaining()
        return Place(call, repository, self._sources.key(check_repository(repository), call.ns))

    # Reader

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        return (await self.get_manifest(call, repository, reference)).descriptor

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        place = self._place(call, repository)
        if looks_like_digest(reference):
            pointed = Pointed(Digest.parse(reference))
        else:
            pointed = await self.tags_known.point(place, check_tag(reference))
        self.uses.note(str(pointed.digest))
        return pointed.manifest or await self._manifests.get(place, pointed.digest)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        return await self._copies.stat(self._place(call, repository), digest)

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        self.uses.note(str(digest))
        return await self._copies.open(self._place(call, repository), digest, span)

    # Writer: nobody

    def _refuse(self) -> NoReturn:
        raise Unsupported(self._reason)

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        self._refuse()

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        self._refuse()

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        self._refuse()

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        self._refuse()

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        self._refuse()

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
        self._refuse()

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        self._refuse()

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        self._refuse()

    # Lister

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        """Those that have copies here."""
        return await self._local.repositories(call, after=after, limit=limit)

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        return await self._lists.tags(self._place(call, repository), after, limit)

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        return await self._lists.referrers(self._place(call, repository), digest, artifact_type, after)

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        """As far as the copies tell: whoever may pull some tags pulls those first."""
        return await self._local.reached(call, self._place(call, repository).key, digest, wanted)

    # Deleter: of copies

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        await self._local.delete_tag(call, self._place(call, repository).key, tag)
        self._forget()

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        await self._local.delete_manifest(call, self._place(call, repository).key, digest)
        self._forget()

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        await self._local.delete_blob(call, self._place(call, repository).key, digest)
        self._forget()

    def _forget(self) -> None:
        """What is remembered of copies is read again."""
        self.tags_known.forget()
        self._lists.forget()
        self._absent.clear()
        self.evictor.wake()

    # Extension

    async def features(self, call: Call) -> Features | None:
        call.remaining()
        return Features(node=self._node, scope=self._node, features=FEATURES, limits={})

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        key = self._place(call, repository).key
        return await self._local.tag_states(call, key, after=after, limit=limit, known_rev=known_rev)

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        return await report(self, call, repository, digest, rehash=rehash)

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        place = self._place(call, repository)
        return await explain(self, self._cache, place, reference, self._settings, node=self._node)

    async def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        async for event in self._local.events(call, after=after, wait=wait):
            yield event
