"""The upstreams of a mirror, in order. Nothing is kept here: the mirror caches.

``ManifestUnknown``, ``BlobUnknown`` and ``NameUnknown`` mean that every upstream that may be asked has said that it is
not there. An upstream that could not say is UpstreamFailed: for a tag at once (the next one may have another image
under that name: dependency confusion), unless ``on_outage: next``; for a digest only when no other one has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import httpx

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown, RegistryError, Unsupported, UpstreamFailed
from oci_wire.manifest import Manifest
from oci_wire.registry import BlobStream, ByteRange, Call, Page
from registry_node.registries.upstreams.asked import Answer, UpstreamStatus
from registry_node.registries.upstreams.budget import Allowance
from registry_node.registries.upstreams.budget_file import BudgetFile
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.upstreams.guarded import Guarded
from registry_node.registries.upstreams.remote import client_of, is_docker_hub
from registry_node.registries.upstreams.routing import Routed, Routing
from registry_node.settings.mirror import Mirror, Upstream

T = TypeVar("T")
Question = Callable[[Guarded, str], Awaitable[T]]


class Upstreams:
    """Of one event loop. ``aclose`` ends the connections."""

    def __init__(self, settings: Mirror, guarded: dict[str, Guarded], budgets: BudgetFile) -> None:
        """``guarded``: by the upstream's name."""
        self._budgets = budgets
        self._settings = settings
        self._routing = Routing(settings)
        self._guarded = guarded

    @classmethod
    def of(cls, settings: Mirror, data: Path | None = None) -> Self:
        """``data``: the node's folder, in which the budgets are kept. Raises OSError when a file of the settings cannot
        be read."""
        budgets = BudgetFile(data)
        guarded = {each.name: _guarded(each, settings.answer_seconds, budgets) for each in settings.upstreams}
        return cls(settings, guarded, budgets)

    async def aclose(self) -> None:
        self._budgets.write()
        for each in self._guarded.values():
            await each.aclose()

    def blame(self, upstream: str) -> None:
        """Bytes of this upstream did not hash to their digest: found by whoever kept them, counted here."""
        if upstream in self._guarded:
            self._guarded[upstream].blame()

    def key(self, repository: str, ns: str) -> str:
        """The name under which a cache keeps it (routing.py). Raises NameUnknown: no upstream may be asked."""
        return self._routing.key(repository, ns)

    def status(self) -> tuple[UpstreamStatus, ...]:
        return tuple(each.status() for each in self._guarded.values())

    async def resolve(
        self, call: Call, repository: str, reference: str, *, known: Descriptor | None = None
    ) -> Answer[Descriptor]:
        """What a tag or digest names now, by HEAD. ``known``: what it named when it was last asked."""

        async def question(one: Guarded, name: str) -> Descriptor:
            return await one.ask_manifest(lambda: one.registry.resolve(call, name, reference, known=known), head=True)

        proven = looks_like_digest(reference)
        return await self._first(call, repository, question, ManifestUnknown(_unknown(reference)), proven=proven)

    async def get_manifest(
        self, call: Call, repository: str, reference: str, *, refresh: bool = False
    ) -> Answer[Manifest]:
        """Its bytes hash to the reference when that is a digest, and to what the upstream said that they are.

        ``refresh``: the cache has an older one of that tag, which will do when the upstream's budget is nearly spent:
        then it is refused here (UpstreamFailed, ``budget``)."""

        async def question(one: Guarded, name: str) -> Manifest:
            return await one.ask_manifest(
                lambda: one.registry.get_manifest(call, name, reference), head=False, refresh=refresh
            )

        proven = looks_like_digest(reference)
        return await self._first(call, repository, question, ManifestUnknown(_unknown(reference)), proven=proven)

    async def stat_blob(self, call: Call, repository: str, digest: Digest, *, prefer: str = "") -> Answer[Descriptor]:
        """``prefer``: the upstream that is asked first, because the manifest is from there."""

        async def question(one: Guarded, name: str) -> Descriptor:
            return await one.ask(lambda: one.registry.stat_blob(call, name, digest))

        absent = BlobUnknown(_unknown(str(digest)))
        return await self._first(call, repository, question, absent, proven=True, prefer=prefer)

    async def open_blob(
        self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None, *, prefer: str = ""
    ) -> Answer[BlobStream]:
        """The bytes as they come: whoever keeps them hashes them, and says so when they are wrong (``blame``).

        Raises RangeInvalid."""

        async def question(one: Guarded, name: str) -> BlobStream:
            return await one.open(lambda: one.registry.open_blob(call, name, digest, span, verify=False))

        absent = BlobUnknown(_unknown(str(digest)))
        return await self._first(call, repository, question, absent, proven=True, prefer=prefer)

    async def tags(
        self, call: Call, repository: str, *, after: str = "", limit: int | None = None
    ) -> Answer[Page[str]]:
        """Those of the first upstream that has the repository."""

        async def question(one: Guarded, name: str) -> Page[str]:
            return await one.ask(lambda: one.registry.tags(call, name, after=after, limit=limit))

        absent = NameUnknown(f"{repository} is at none of the upstreams that may be asked for it")
        return await self._first(call, repository, question, absent)

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Answer[Page[Descriptor]]:
        """Those of the first upstream that has some; no upstream, when none has."""

        async def question(one: Guarded, name: str) -> Page[Descriptor]:
            page = await one.ask(
                lambda: one.registry.referrers(call, name, digest, artifact_type=artifact_type, after=after)
            )
            if not page.items and page.next is None:
                raise ManifestUnknown(_unknown(str(digest)))
            return page

        try:
            return await self._first(call, repository, question, ManifestUnknown(), proven=True)
        except ManifestUnknown:
            return Answer("", Page(()))

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

    def _routes(self, call: Call, repository: str, prefer: str) -> list[Routed]:
        return sorted(
            self._routing.routes(repository, call.ns), key=lambda each: each.upstream.name != prefer
        )  # stable: the others stay in order

    async def _first(
        self,
        call: Call,
        repository: str,
        question: Question[T],
        absent: RegistryError,
        *,
        proven: bool = False,
        prefer: str = "",
    ) -> Answer[T]:
        """The first answer. ``proven``: the answer proves itself, so that one upstream is as good as another."""
        failed: UpstreamFailed | None = None
        for route in self._routes(call, repository, prefer):
            one = self._guarded[route.upstream.name]
            try:
                return Answer(one.name, await question(one, route.repository))
            except ABSENT:
                continue
            except UpstreamFailed as error:
                if not proven and self._settings.on_outage == "stop":
                    raise
                failed = failed or error
        raise failed or absent


def _unknown(reference: str) -> str:
    return f"{reference} is at none of the upstreams that may be asked for it"


def _guarded(upstream: Upstream, answer_seconds: float, budgets: BudgetFile) -> Guarded:
    key = f"{upstream.name} {upstream.url}"
    declared = upstream.budget
    heard: list[Guarded] = []

    async def hear(response: httpx.Response) -> None:
        await heard[0].heard(response)

    guarded = Guarded(
        upstream.name,
        client_of(upstream, answer_seconds=answer_seconds, connections=upstream.connections, heard=hear),
        answer_seconds=answer_seconds,
        connections=upstream.connections,
        absent_when_refused=upstream.credentials is None or is_docker_hub(upstream),
        bytes_per_second=upstream.bytes_per_second,
    )
    heard.append(guarded)
    begun = Allowance.declared(declared.pulls, declared.seconds) if declared else Allowance()
    guarded.begin_with(budgets.load(key) or begun)
    guarded.changed = partial(budgets.note, key)
    return guarded
