"""The upstreams of a mirror, in order. Nothing is kept here: the mirror caches.

``ManifestUnknown``, ``BlobUnknown`` and ``NameUnknown`` mean that every upstream that may be asked has said that it is
not there. An upstream that could not say is UpstreamFailed: for a tag or a list at once (the next one may have another
image under that name: dependency confusion), unless ``on_outage: next``; for a digest only when no other one has it. One
that sent wrong bytes for a digest is asked for that one after all others (lies.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import (
    BlobUnknown,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    Unsupported,
    UpstreamFailed,
)
from oci_wire.manifest import MAX_BYTES, Manifest
from oci_wire.registry import BlobStream, ByteRange, Call, Page
from registry_node.registries.upstreams.asked import Answer, May, NotShared, UpstreamStatus, anybody
from registry_node.registries.upstreams.budget_file import BudgetFile
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.upstreams.foreign import ForeignLayers
from registry_node.registries.upstreams.guarded import Guarded, guarded_of
from registry_node.registries.upstreams.lies import Lies
from registry_node.registries.upstreams.lists import Asked, merged_list
from registry_node.registries.upstreams.routing import Routed, Routing
from registry_node.settings.mirror import Mirror

T = TypeVar("T")
Question = Callable[[Guarded, str], Awaitable[T]]


class Upstreams:
    """Of one event loop. ``aclose`` ends the connections."""

    def __init__(
        self, settings: Mirror, guarded: dict[str, Guarded], budgets: BudgetFile, manifest_bytes: int = MAX_BYTES
    ) -> None:
        """``guarded``: by the upstream's name."""
        self._budgets = budgets
        self._settings, self._manifest_bytes = settings, manifest_bytes
        self._routing = Routing(settings)
        self._guarded = guarded
        self._lies = Lies()
        self._foreign = None
        if settings.foreign_layers:
            self._foreign = ForeignLayers.of(
                settings.foreign_layers, self._lies, answer_seconds=settings.answer_seconds
            )

    @classmethod
    def of(cls, settings: Mirror, data: Path | None = None, *, manifest_bytes: int = MAX_BYTES) -> Self:
        """``data``: the node's folder, in which the budgets are kept; ``manifest_bytes``: of the largest manifest that is
        taken. Raises OSError when a file of the settings cannot be read."""
        budgets = BudgetFile(data)
        guarded = {each.name: guarded_of(each, settings.answer_seconds, budgets) for each in settings.upstreams}
        return cls(settings, guarded, budgets, manifest_bytes)

    async def aclose(self) -> None:
        self._budgets.write()
        for each in self._all_asked():
            await each.aclose()

    def _all_asked(self) -> list[Guarded | ForeignLayers]:
        return [*self._guarded.values(), *([] if self._foreign is None else [self._foreign])]

    def blame(self, upstream: str, digest: Digest) -> None:
        """Bytes of this upstream did not hash to their digest: found by whoever kept them, counted here."""
        self._lies.note(upstream, str(digest))
        if upstream in self._guarded:
            self._guarded[upstream].blame()
        elif self._foreign is not None:
            self._foreign.blame(upstream)

    def key(self, repository: str, ns: str) -> str:
        """The name under which a cache keeps it (routing.py). Raises NameUnknown: no upstream may be asked."""
        return self._routing.key(repository, ns)

    def status(self) -> tuple[UpstreamStatus, ...]:
        return tuple(each.status() for each in self._all_asked())

    async def resolve(
        self, call: Call, repository: str, reference: str, *, known: Descriptor | None = None
    ) -> Answer[Descriptor]:
        """What a tag or digest names now, by HEAD. ``known``: what it named when it was last asked."""

        async def question(one: Guarded, name: str) -> Descriptor:
            return await one.ask_manifest(lambda: one.registry.resolve(call, name, reference, known=known), head=True)

        absent, digest = ManifestUnknown(_unknown(reference)), _digest(reference)
        return await self._first(call, repository, question, absent, digest=digest)

    async def get_manifest(
        self, call: Call, repository: str, reference: str, *, refresh: bool = False
    ) -> Answer[Manifest]:
        """Its bytes hash to the reference when that is a digest, and to what the upstream said that they are.

        ``refresh``: the cache has an older one of that tag, which will do when the upstream's budget is nearly spent:
        then it is refused here (UpstreamFailed, ``budget``)."""

        async def manifest(one: Guarded, name: str) -> Manifest:
            found = await one.registry.get_manifest(call, name, reference)
            if found.size > self._manifest_bytes:
                raise ManifestTooLarge(f"{found.size} bytes, of {self._manifest_bytes} that are taken")
            return found

        async def question(one: Guarded, name: str) -> Manifest:
            return await one.ask_manifest(lambda: manifest(one, name), head=False, refresh=refresh)

        absent, digest = ManifestUnknown(_unknown(reference)), _digest(reference)
        return await self._first(call, repository, question, absent, digest=digest)

    async def stat_blob(
        self, call: Call, repository: str, digest: Digest, *, prefer: str = "", layer: Descriptor | None = None
    ) -> Answer[Descriptor]:
        """``prefer``: the upstream that is asked first, because the manifest is from there; ``layer``: the blob as that
        names it, with its urls."""

        async def question(one: Guarded, name: str) -> Descriptor:
            return await one.ask(lambda: one.registry.stat_blob(call, name, digest))

        asked = self._blob(call, repository, question, digest, prefer=prefer)
        return await self._or_elsewhere(asked, layer, lambda foreign, known: foreign.stat(call, known))

    async def open_blob(
        self,
        call: Call,
        repository: str,
        digest: Digest,
        span: ByteRange | None = None,
        *,
        prefer: str = "",
        layer: Descriptor | None = None,
        may: May = anybody,
    ) -> Answer[BlobStream]:
        """The bytes as they come: whoever keeps them hashes them, and says so when they are wrong (``blame``).
        ``may``: whether bytes of an upstream will do, asked just before it is.

        Raises RangeInvalid, and NotShared when one that might have it was not asked."""

        async def question(one: Guarded, name: str) -> BlobStream:
            return await one.open(lambda: one.registry.open_blob(call, name, digest, span, verify=False))

        asked = self._blob(call, repository, question, digest, prefer=prefer, may=may)
        return await self._or_elsewhere(asked, layer, lambda foreign, known: foreign.open(call, known, span))

    async def _or_elsewhere(
        self,
        asked: Awaitable[Answer[T]],
        layer: Descriptor | None,
        elsewhere: Callable[[ForeignLayers, Descriptor], Awaitable[Answer[T]]],
    ) -> Answer[T]:
        """An upstream's answer; when none has it, that of one of its urls."""
        try:
            return await asked
        except (*ABSENT, UpstreamFailed) as error:
            if self._foreign is None or layer is None:
                raise
            try:
                return await elsewhere(self._foreign, layer)
            except ABSENT as absent:
                raise error if isinstance(error, UpstreamFailed) else absent from None

    async def _blob(
        self,
        call: Call,
        repository: str,
        question: Question[T],
        digest: Digest,
        *,
        prefer: str,
        may: May = anybody,
    ) -> Answer[T]:
        absent, name = BlobUnknown(_unknown(str(digest))), str(digest)
        return await self._first(call, repository, question, absent, digest=name, prefer=prefer, may=may)

    async def tags(
        self, call: Call, repository: str, *, after: str = "", limit: int | None = None
    ) -> Answer[Page[str]]:
        """Of all upstreams that may be asked for it: a pull finds a tag at whichever has it."""
        asked = self._all(call, repository)

        async def fetch(one: Asked, since: str) -> Page[str]:
            most = limit if len(asked) == 1 else None
            return await one.guarded.registry.tags(call, one.repository, after=since, limit=most)

        found = await self._list(asked, fetch, str, after, limit)
        if found is None:
            raise NameUnknown(f"{repository} is at none of the upstreams that may be asked for it")
        return found

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Answer[Page[Descriptor]]:
        """Of all upstreams that may be asked; none, when none has any."""

        async def fetch(one: Asked, since: str) -> Page[Descriptor]:
            return await one.guarded.registry.referrers(
                call, one.repository, digest, artifact_type=artifact_type, after=since
            )

        asked = self._all(call, repository)
        return await self._list(asked, fetch, lambda each: str(each.digest), after, None) or Answer("", Page(()))

    async def _list(
        self,
        asked: list[Asked],
        fetch: Callable[[Asked, str], Awaitable[Page[T]]],
        name: Callable[[T], str],
        after: str,
        limit: int | None,
    ) -> Answer[Page[T]] | None:
        """As it comes when there is one to ask, pages and all."""
        if len(asked) > 1:
            whole = self._settings.on_outage == "stop"
            page = await merged_list(asked, fetch, name, after, limit, whole=whole)
            return None if page is None else Answer("", page)
        try:
            return Answer(asked[0].guarded.name, await asked[0].guarded.ask(lambda: fetch(asked[0], after)))
        except ABSENT:
            return None

    def _all(self, call: Call, repository: str) -> list[Asked]:
        routes = self._routing.routes(repository, call.ns)
        return [Asked(self._guarded[each.upstream.name], each.repository) for each in routes]

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Answer[Page[str]]:
        """The catalog of the one upstream there is, or that ``call.ns`` means; a page may be short and not the last.

        Raises Unsupported: there are several, or it shows none."""
        chosen = self._routing.upstreams(call.ns)
        if len(chosen) > 1:
            names = ", ".join(each.name for each in chosen)
            raise Unsupported(f"a catalog of several upstreams ({names}) is not put together; ask for one by ?ns=")
        one = self._guarded[chosen[0].name]
        try:
            page = await one.ask(lambda: one.registry.repositories(call, after=after, limit=limit))
        except ABSENT:
            raise Unsupported(f"upstream {one.name} shows no catalog") from None
        return Answer(one.name, Page(tuple(each for each in page.items if self._mirrored(each, call.ns)), page.next))

    def _mirrored(self, repository: str, ns: str) -> bool:
        with suppress(NameUnknown):
            return bool(self._routing.routes(repository, ns))
        return False

    def _routes(self, call: Call, repository: str, prefer: str, digest: str) -> list[Routed]:
        """Stable: the others stay in order."""

        def rank(route: Routed) -> tuple[float, bool]:
            return self._lies.told_at(route.upstream.name, digest), route.upstream.name != prefer

        return sorted(self._routing.routes(repository, call.ns), key=rank)

    async def _first(
        self,
        call: Call,
        repository: str,
        question: Question[T],
        absent: RegistryError,
        *,
        digest: str = "",
        prefer: str = "",
        may: May = anybody,
    ) -> Answer[T]:
        """The first answer. With a digest it proves itself, so that one upstream is as good as another."""
        failed: UpstreamFailed | None = None
        left_out = False
        for route in self._routes(call, repository, prefer, digest):
            one = self._guarded[route.upstream.name]
            if not may(one.name):
                left_out = True
                continue
            try:
                return Answer(one.name, await question(one, route.repository))
            except ABSENT:
                continue
            except UpstreamFailed as error:
                if not digest and self._settings.on_outage == "stop":
                    raise
                self._lies.note_failure(error, digest)
                failed = failed or error
        if left_out:
            raise NotShared(f"{digest} is asked for by each repository alone now; ask again") from failed
        raise failed or absent


def _digest(reference: str) -> str:
    """Of a reference that is one, else ""."""
    return reference if looks_like_digest(reference) else ""


def _unknown(reference: str) -> str:
    return f"{reference} is at none of the upstreams that may be asked for it"
