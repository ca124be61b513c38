"""Lists of an upstream: passed on as they are; when it does not answer, what is known here, with a warning."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import NameUnknown, RegistryError
from oci_wire.registry import Page
from registry_node.recent import Recent
from registry_node.registries.mirror.cache import CACHE, Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.flights import Flights
from registry_node.registries.mirror.freshness import Belief
from registry_node.registries.mirror.sources import ABSENT, Sources

_HALF = 512  # pages of referrers
_LONGEST = 1000  # descriptors of a page that is remembered


@dataclass(frozen=True, slots=True)
class _Seen:
    page: Page[Descriptor]
    at: float


class MirrorListings:
    """Belongs to one event loop. ``clock``: seconds since the epoch."""

    def __init__(
        self, cache: Cache, sources: Sources, belief: Belief, *, node: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._cache, self._sources, self._belief, self._node, self._clock = cache, sources, belief, node, clock
        self._seen: Recent[tuple[str, ...], _Seen] = Recent(_HALF)
        self._flights: Flights[Page[Descriptor]] = Flights()

    async def tags(self, place: Place, after: str, limit: int | None) -> Page[str]:
        """Raises NameUnknown, or why no upstream could say, when nothing is cached."""
        try:
            answer = await self._sources.tags(place.shared, place.repository, after=after, limit=limit)
        except ABSENT:
            raise
        except RegistryError as error:
            try:
                page = await self._cache.local.tags(CACHE, place.key, after=after, limit=limit)
            except NameUnknown:
                raise error from None
            self._warn(place, "only the cached tags are listed")
            return page
        return answer.value

    async def referrers(self, place: Place, digest: Digest, artifact_type: str, after: str) -> Page[Descriptor]:
        thing = (place.key, str(digest), artifact_type, after)
        seen, now = self._seen.get(thing), self._clock()
        if seen is not None and seen.at <= now < seen.at + self._belief.tag_seconds:
            return seen.page
        try:
            return await self._flights.wait(thing, lambda: self._ask(place, digest, artifact_type, after))
        except ABSENT:
            return Page(())
        except RegistryError as error:
            return await self._without(place, digest, artifact_type, after, error)

    async def _ask(self, place: Place, digest: Digest, artifact_type: str, after: str) -> Page[Descriptor]:
        answer = await self._sources.referrers(
            place.shared, place.repository, digest, artifact_type=artifact_type, after=after
        )
        page = answer.value
        if len(page.items) <= _LONGEST:
            self._seen.put((place.key, str(digest), artifact_type, after), _Seen(page, self._clock()))
        return page

    async def _without(
        self, place: Place, digest: Digest, artifact_type: str, after: str, error: RegistryError
    ) -> Page[Descriptor]:
        """What was seen last, or what refers to it among the copies."""
        seen, now = self._seen.get((place.key, str(digest), artifact_type, after)), self._clock()
        if seen is not None and now < seen.at + self._belief.stale_seconds:
            place.call.notes["age"] = str(max(0, int(now - seen.at)))
            self._warn(place, "the upstream cannot be asked")
            return seen.page
        page = await self._cache.local.referrers(CACHE, place.key, digest, artifact_type=artifact_type, after=after)
        if not page.items or self._belief.stale_seconds == 0:
            raise error
        self._warn(place, "only the cached referrers are listed")
        return page

    def _warn(self, place: Place, why: str) -> None:
        place.call.notes["warning"] = f'110 {self._node} "Response is Stale", 111 {self._node} "{why}"'

    def forget(self) -> None:
        self._seen = Recent(_HALF)

    def stop(self) -> None:
        self._flights.stop()
