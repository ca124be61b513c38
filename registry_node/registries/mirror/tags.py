"""Tags: which digest one names, asked of an upstream no more often than their freshness wants (freshness.py)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.manifest import Manifest
from registry_node.recent import Recent
from registry_node.registries.mirror.absent import Absent
from registry_node.registries.mirror.cache import Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.flights import Flights
from registry_node.registries.mirror.freshness import Belief, Check, Named, Next, Silence, staleness
from registry_node.registries.mirror.manifests import Manifests
from registry_node.registries.mirror.sources import ABSENT, Sources

log = logging.getLogger(__name__)
_HALF = 32768  # tags whose checks are remembered; others are read again
_GRACE = 1.0  # seconds that a reader waits for an upstream that failed the last time


@dataclass(frozen=True, slots=True)
class Pointed:
    """What a tag names, as it may be served now. ``manifest``: when it has just come."""

    digest: Digest
    manifest: Manifest | None = None


class _Answered(NamedTuple):
    """What an upstream's answer led to. ``manifest``: when it had to be fetched."""

    known: Check
    manifest: Manifest | None


class Tags:
    """Belongs to one event loop. ``clock``: seconds since the epoch."""

    def __init__(
        self,
        cache: Cache,
        manifests: Manifests,
        sources: Sources,
        absent: Absent,
        counts: Counts,
        *,
        belief: Belief,
        node: str,
        answer_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._cache, self._manifests, self._sources = cache, manifests, sources
        self._absent, self._counts, self.belief = absent, counts, belief
        self._node, self._patience, self._clock = node, answer_seconds, clock
        self._known: Recent[tuple[str, str], Check] = Recent(_HALF)
        self._flights: Flights[_Answered] = Flights()

    async def point(self, place: Place, tag: str) -> Pointed:
        """Raises ManifestUnknown, NameUnknown, or why no upstream could say."""
        known = await self.known(place.key, tag)
        then = self.belief.next(known, self._clock())
        if known is not None and then in (Next.SERVE, Next.SERVE_STALE):
            return self._serve(place, known)
        return await self._ask(place, tag, known, _GRACE if then is Next.SERVE_STALE_AND_ASK else self._patience)

    async def known(self, key: str, tag: str) -> Check | None:
        """What was last said of a tag."""
        found = self._known.get((key, tag))
        if found is None:
            read = await self._cache.tag(key, tag)
            found = self._known.get((key, tag))  # somebody may have asked an upstream meanwhile
            if found is None and read is not None:
                self._known.put((key, tag), read)
                found = read
        return found

    def remembered(self, key: str, tag: str) -> Check | None:
        """The same without asking the index."""
        return self._known.get((key, tag))

    def forget(self) -> None:
        """People removed copies: what is remembered of them is read again."""
        self._known = Recent(_HALF)

    def stop(self) -> None:
        self._flights.stop()

    async def _ask(self, place: Place, tag: str, known: Check | None, patience: float) -> Pointed:
        """Waits for an upstream; with a copy that may be served stale, no longer than ``patience`` seconds."""
        thing = ("tag", place.key, tag)
        if known is None:
            self._absent.check(thing)
        asking = self._flights.join(thing, lambda: self._refresh(place, tag, known))
        if known is None or not self.belief.may_serve_stale(known, self._clock()):
            return self._serve(place, *await asyncio.shield(asking))
        await asyncio.wait({asking}, timeout=patience)
        if not asking.done():
            return self._serve(place, self._slow(place.key, tag, known))
        try:
            return self._serve(place, *asking.result())
        except RegistryError:
            copy = await self.known(place.key, tag)
            if copy is None or not self.belief.may_serve_stale(copy, self._clock()):
                raise
            return self._serve(place, copy)

    def _slow(self, key: str, tag: str, known: Check) -> Check:
        """An upstream that takes too long has failed, as far as readers go; its answer still counts when it comes."""
        said = self.belief.after(known, Silence.FAILED, self._clock()) or known
        self._known.put((key, tag), said)
        return said

    def _serve(self, place: Place, known: Check, manifest: Manifest | None = None) -> Pointed:
        now = self._clock()
        if not self.belief.is_fresh(known, now) and (known.failed_at or known.gone_at):
            self._counts.stale += 1
            place.call.notes.update(staleness(known, self._node, now))
        return Pointed(Digest.parse(known.digest), manifest)

    async def _refresh(self, place: Place, tag: str, known: Check | None) -> _Answered:
        """Asks, and keeps what comes of it."""
        try:
            named, manifest = await self._question(place, tag, known)
        except ABSENT as error:
            await self._learn(place.key, tag, known, Silence.ABSENT)
            self._absent.put(("tag", place.key, tag), error)
            raise
        except RegistryError as error:
            await self._learn(place.key, tag, known, Silence.FAILED)
            log.info("%s:%s: %s", place.key, tag, error)
            raise
        answered = await self._learn(place.key, tag, known, named, manifest)
        assert answered is not None  # a tag that was named is known
        return _Answered(answered, manifest)

    async def _question(self, place: Place, tag: str, known: Check | None) -> tuple[Named, Manifest | None]:
        """One conditional HEAD when there is a copy to compare with, else the manifest itself."""
        if known is None:
            given = await self._manifests.ask(place, tag)
            return Named(str(given.manifest.digest), given.upstream), given.manifest
        copy = await self._cache.descriptor(place.key, Digest.parse(known.digest))
        answer = await self._sources.resolve(place.shared, place.repository, tag, known=copy)
        digest = answer.value.digest
        here = await self._cache.descriptor(place.key, digest)
        if here is not None:
            return Named(str(digest), answer.upstream), None
        return await self._moved(place, tag, digest, spare=self.belief.may_serve_stale(known, self._clock()))

    async def _moved(self, place: Place, tag: str, digest: Digest, *, spare: bool) -> tuple[Named, Manifest | None]:
        """The tag names something new. It may have moved once more since the HEAD: then the tag itself is fetched.

        ``spare``: the copy may still be served, so that the upstream's budget can be kept for what has none."""
        try:
            given = await self._manifests.ask(place, str(digest), refresh=spare)
        except ABSENT:
            given = await self._manifests.ask(place, tag, refresh=spare)
        return Named(str(given.manifest.digest), given.upstream), given.manifest

    async def _learn(
        self, key: str, tag: str, known: Check | None, said: Named | Silence, manifest: Manifest | None = None
    ) -> Check | None:
        after = self.belief.after(known, said, self._clock())
        if after is None:
            self._known.drop((key, tag))
            if known is not None:
                await self._cache.forget_tag(key, tag)
            return None
        if said is not Silence.FAILED:  # a failure is no news to keep
            await self._cache.keep_tag(key, tag, after, manifest)
        self._known.put((key, tag), after)  # only now: who finds it here finds the manifest in the cache
        return after
