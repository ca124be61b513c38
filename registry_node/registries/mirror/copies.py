"""Blobs of a mirror: out of the cache, or from the fill that is under way, or from one that begins now."""

from __future__ import annotations

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown
from oci_wire.registry import BlobStream, ByteRange, once
from oci_wire.streams import Owned
from registry_node.registries.mirror.absent import Absent
from registry_node.registries.mirror.cache import CACHE, Cache, Giver
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.fill import Open
from registry_node.registries.mirror.fills import Fills
from registry_node.registries.mirror.flights import Flights
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.sources import ABSENT, Sources

SMALL = 256 * 1024  # bytes of a blob that is waited for: then what is wrong with it can still be said


class Copies:
    """Belongs to one event loop."""

    def __init__(self, cache: Cache, fills: Fills, sources: Sources, absent: Absent, placing: Placing) -> None:
        self._cache, self._fills, self._sources, self._absent, self._placing = cache, fills, sources, absent, placing
        self._flights: Flights[Descriptor] = Flights()

    async def stat(self, place: Place, digest: Digest) -> Descriptor:
        """Raises BlobUnknown, NameUnknown, or why no upstream could say."""
        return await self._here(place, digest) or await self._stat_there(place, digest)

    async def open(self, place: Place, digest: Digest, span: ByteRange | None) -> BlobStream:
        """The same, and RangeInvalid."""
        if await self._here(place, digest) is None:
            stream = await self._from_fill(place, digest, span)
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

    async def _from_fill(self, place: Place, digest: Digest, span: ByteRange | None) -> BlobStream | None:
        """None: it is in the cache by now."""
        self._absent.check(("blob", place.key, str(digest)))
        giver = self._cache.giver(place.key, digest)
        if giver is None and self._fills.size(digest) is not None and not self._fills.on_its_way_to(digest, place.key):
            await self._stat_there(place, digest)  # it is on its way to another repository: is it of this one?
        if self._cache.blob(place.key, digest) is not None:  # it came meanwhile; from here to the fill nobody waits
            return None
        try:
            stream = await self._fills.read(digest, place.key, span, self._opener(place, digest, giver))
        except ABSENT as error:
            self._absent.put(("blob", place.key, str(digest)), error)
            raise
        if stream.descriptor.size > SMALL:
            return stream
        return await self._waited_for(place, digest, stream)

    async def _waited_for(self, place: Place, digest: Digest, stream: BlobStream) -> BlobStream | None:
        content = await stream.read()
        if self._cache.blob(place.key, digest) is not None:
            return None
        return BlobStream(stream.descriptor, stream.start, stream.stop, once(content))

    def _opener(self, place: Place, digest: Digest, giver: Giver | None) -> Open:
        prefer = giver.upstream if giver is not None else ""

        async def open_at(start: int) -> tuple[str, BlobStream]:
            span = ByteRange(start) if start else None
            answer = await self._sources.open_blob(place.shared, place.repository, digest, span, prefer=prefer)
            return answer.upstream, answer.value

        return open_at

    async def _here(self, place: Place, digest: Digest) -> Descriptor | None:
        """A blob of this repository in the cache; one that lies there for another repository becomes ours once it is
        clear that it is."""
        found = self._cache.blob(place.key, digest)
        size = self._cache.blob_elsewhere(digest) if found is None else None
        if size is None:
            return found
        if self._cache.giver(place.key, digest) is None:
            await self._stat_there(place, digest)
        linked = await self._cache.link_blob(place.key, digest, size)
        return Descriptor(OCTET_STREAM, digest, size) if linked else None

    async def _stat_there(self, place: Place, digest: Digest) -> Descriptor:
        thing = ("blob", place.key, str(digest))
        self._absent.check(thing)
        try:
            return await self._flights.wait(thing, lambda: self._stat(place, digest))
        except ABSENT as error:
            self._absent.put(thing, error)
            raise

    async def _stat(self, place: Place, digest: Digest) -> Descriptor:
        giver = self._cache.giver(place.key, digest)
        prefer = giver.upstream if giver is not None else ""
        answer = await self._sources.stat_blob(place.shared, place.repository, digest, prefer=prefer)
        if answer.value.digest != digest:
            raise BlobUnknown(f"upstream {answer.upstream} has another blob than {digest}")
        return answer.value

    def stop(self) -> None:
        self._flights.stop()
