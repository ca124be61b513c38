"""Manifests by digest: out of the cache, or once from an upstream for all who ask. A digest is never asked again."""

from __future__ import annotations

from dataclasses import dataclass

from oci_wire.digest import Digest
from oci_wire.manifest import Manifest
from registry_node.registries.mirror.absent import Absent
from registry_node.registries.mirror.cache import Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.flights import Flights
from registry_node.registries.mirror.sources import ABSENT, Sources
from registry_node.registries.upstreams.failures import bad_answer


@dataclass(frozen=True, slots=True)
class Given:
    """A manifest that an upstream has just given."""

    manifest: Manifest
    upstream: str


class Manifests:
    """Belongs to one event loop."""

    def __init__(self, cache: Cache, sources: Sources, absent: Absent, counts: Counts) -> None:
        self._cache, self._sources, self._absent, self._counts = cache, sources, absent, counts
        self._flights: Flights[Manifest] = Flights()

    async def get(self, place: Place, digest: Digest) -> Manifest:
        """Raises ManifestUnknown, NameUnknown, or why no upstream could be asked."""
        found = await self._cache.manifest(place.key, digest)
        if found is not None:
            return found
        thing = ("manifest", place.key, str(digest))
        self._absent.check(thing)
        try:
            return await self._flights.wait(thing, lambda: self._fetch(place, digest))
        except ABSENT as error:
            self._absent.put(thing, error)
            raise

    async def _fetch(self, place: Place, digest: Digest) -> Manifest:
        adopted = await self._cache.adopt(place.key, digest)
        if adopted is not None:
            return adopted
        given = await self.ask(place, str(digest))
        await self._cache.keep(place.key, given.manifest, given.upstream)
        return given.manifest

    async def ask(self, place: Place, reference: str, *, refresh: bool = False) -> Given:
        """From an upstream, not stored yet. Raises what it raises."""
        answer = await self._sources.get_manifest(place.shared, place.repository, reference, refresh=refresh)
        manifest = answer.value
        if ":" in reference and str(manifest.digest) != reference:
            raise bad_answer(answer.upstream)
        self._counts.manifest_misses += 1
        self._counts.manifest_bytes += manifest.size
        return Given(manifest, answer.upstream)

    def stop(self) -> None:
        self._flights.stop()
