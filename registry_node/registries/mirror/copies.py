"""Blobs of a mirror: out of the cache, else of a neighbour's folder, else from the fill that is under way, or from one that
begins now."""

from __future__ import annotations

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown
from oci_wire.registry import BlobStream, ByteRange, once
from oci_wire.streams import Owned
from registry_node.registries.mirror.absent import Absent
from registry_node.registries.mirror.cache import CACHE, Cache, Giver
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.fill import Open, WrongBytes
from registry_node.registries.mirror.fills import Fills
from registry_node.registries.mirror.flights import Flights
from registry_node.registries.mirror.neighbours import Neighbours
from registry_node.registries.mirror.parts import Sought
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.sources import ABSENT, Sources
from registry_node.registries.upstreams.asked import Answer, May, NotShared

SMALL = 256 * 1024  # bytes of a blob that is waited for: then what is wrong with it can still be said


class Copies:
    """Belongs to one event loop."""

    def __init__(
        self, cache: Cache, fills: Fills, sources: Sources, absent: Absent, placing: Placing, *, neighbours: Neighbours
    ) -> None:
        self._cache, self._fills, self._sources, self._absent, self._placing = cache, fills, sources, absent, placing
        self._neighbours = neighbours
        self._flights: Flights[Answer[Descriptor]] = Flights()

    async def stat(self, place: Place, digest: Digest) -> Descriptor:
        """Raises BlobUnknown, NameUnknown, or why no upstream could say."""
        found = await self._here(place, digest)
        if found is None and self._neighbours and (giver := self._cache.giver(place.key, digest)):
            beside = self._neighbours.find(place.call, digest, giver.size)
            found = beside.descriptor if beside is not None else None
        return found or (await self._ask(place, digest)).value

    async def open(self, place: Place, digest: Digest, span: ByteRange | None) -> BlobStream:
        """The same, and RangeInvalid."""
        if await self._here(place, digest) is None:
            giver = self._cache.giver(place.key, digest)
            beside = await self._neighbours.open(place.call, digest, giver.size, span) if giver is not None else None
            stream = beside or await self._from_fill(place, digest, giver, span)
            if stream is not None:
                return stream
        return await self._from_cache(place, digest, span)

    async def _from_cache(self, place: Place, digest: Digest, span: ByteRange | None) -> BlobStream:
        """A file that is being read is not collected."""
        name = str(digest)
        self._placing.read(name)

        async def end() -> None:
            self._placing.unread(name)

        try:
            found = await self._cache.local.open_blob(CACHE, place.key, digest, span)
        except BaseException:
            await end()
            raise
        return BlobStream(found.descriptor, found.start, found.stop, Owned(found.chunks, end), found.path)

    async def _from_fill(
        self, place: Place, digest: Digest, giver: Giver | None, span: ByteRange | None
    ) -> BlobStream | None:
        """None: it is in the cache by now."""
        self._absent.check(("blob", place.key, str(digest)))
        shared = giver.upstream if giver is not None and giver.held else ""
        for again in (True, False):
            sought = await self._fills.ready(digest, place.key, shared if again else "")
            if self._cache.blob(place.key, digest) is not None:
                return None  # it came meanwhile; from here to the fill nobody waits
            try:
                return await self._filled(sought, place, giver, span)
            except (WrongBytes, NotShared):  # nothing has been sent, and another upstream may have it
                if not again:
                    raise
            except ABSENT as error:
                self._absent.put(("blob", place.key, str(digest)), error)
                raise
        return None

    async def _filled(
        self, sought: Sought, place: Place, giver: Giver | None, span: ByteRange | None
    ) -> BlobStream | None:
        digest = sought.digest
        stream = await self._fills.read(sought, place.key, span, self._opener(place, digest, giver))
        if stream.descriptor.size > SMALL:
            return stream
        content = await stream.read()
        if self._cache.blob(place.key, digest) is not None:
            return None
        return BlobStream(stream.descriptor, stream.start, stream.stop, once(content))

    def _opener(self, place: Place, digest: Digest, giver: Giver | None) -> Open:
        prefer, layer = _known(digest, giver)

        async def open_at(start: int, may: May) -> Answer[BlobStream]:
            span = ByteRange(start) if start else None
            return await self._sources.open_blob(
                place.shared, place.repository, digest, span, prefer=prefer, layer=layer, may=may
            )

        return open_at

    async def _here(self, place: Place, digest: Digest) -> Descriptor | None:
        """A blob of this repository in the cache; one that lies there for another repository becomes ours once it is
        clear that it is."""
        found = self._cache.blob(place.key, digest)
        size = self._cache.blob_elsewhere(digest) if found is None else None
        if size is None:
            return found
        giver = self._cache.giver(place.key, digest)
        if giver is not None and giver.held:
            upstream, held = giver.upstream, True
        else:
            answer = await self._ask(place, digest)
            upstream, held = answer.upstream, answer.held
        if not held or not await self._cache.blob_came_from(digest, upstream):
            return None
        linked = await self._cache.link_blob(place.key, digest, size, upstream)
        return Descriptor(OCTET_STREAM, digest, size) if linked else None

    async def _ask(self, place: Place, digest: Digest) -> Answer[Descriptor]:
        """Which upstream has it."""
        thing = ("blob", place.key, str(digest))
        self._absent.check(thing)
        try:
            return await self._flights.wait(thing, lambda: self._stat(place, digest))
        except ABSENT as error:
            self._absent.put(thing, error)
            raise

    async def _stat(self, place: Place, digest: Digest) -> Answer[Descriptor]:
        prefer, layer = _known(digest, self._cache.giver(place.key, digest))
        answer = await self._sources.stat_blob(place.shared, place.repository, digest, prefer=prefer, layer=layer)
        if answer.value.digest != digest:
            raise BlobUnknown(f"upstream {answer.upstream} has another blob than {digest}")
        return answer

    def stop(self) -> None:
        self._flights.stop()


def _known(digest: Digest, giver: Giver | None) -> tuple[str, Descriptor | None]:
    """What a cached manifest says of a blob: the upstream to ask first, and where else it lies."""
    if giver is None:
        return "", None
    return giver.upstream, Descriptor(OCTET_STREAM, digest, giver.size, urls=giver.urls) if giver.urls else None
