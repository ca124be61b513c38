"""Cleaning up a scope: tags first, content later (the node's collection takes what nothing reaches).

``preview`` and ``run`` are one code: a run is a preview, then the removal of exactly what it shows, each tag with the
digest it was seen with.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from oci_wire.closure import Kind, walk
from oci_wire.digest import Digest
from oci_wire.extension import TagChange
from oci_wire.registry import Call, every
from promotions.commit import Committer, in_transactions
from promotions.ledger import Ledger
from promotions.outcome import Refused
from promotions.place import Place
from promotions.plan import Registries
from promotions.retention import Decision, Roots, RuleNotBuilt, TagFact, decide
from promotions.retry import RetryPolicy
from promotions.store import Store, new_id
from promotions.tag_sets import read_tags
from topology.model import Cleanup, Topology

ACTOR = "towpath-engine"
_Sizes = dict[str, dict[str, int]]  # manifest digest -> what it needs: digest -> bytes


@dataclass(frozen=True, slots=True)
class Preview:
    """``frees``: bytes (as stored, each content once) that nothing tagged reaches afterwards; collection frees them."""

    scope: str
    node: str
    decisions: tuple[Decision, ...]
    frees: int
    max_percent: float
    not_done: tuple[str, ...] = ()  # what the scope declares, and no cleanup does yet: sentences

    @property
    def going(self) -> tuple[Decision, ...]:
        return tuple(each for each in self.decisions if each.goes)

    @property
    def percent(self) -> float:
        return 100.0 * len(self.going) / len(self.decisions) if self.decisions else 0.0

    @property
    def needs_confirm(self) -> bool:
        return self.percent > self.max_percent


@dataclass(frozen=True, slots=True)
class Cleaned:
    """``removed`` is empty when the run waits for a person (``preview.needs_confirm``)."""

    preview: Preview
    removed: tuple[Decision, ...]
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Cleaner:
    topology: Topology
    registries: Registries
    store: Store
    ledgers: Path
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    now: Callable[[], float] = time.time

    async def preview(self, scope: str) -> Preview:
        """What a run would remove now, and why. Raises Refused (NO_CLEANUP, NOT_BUILT), RegistryError."""
        rules = self._rules(scope)
        call, node = Call(ACTOR), self.topology.primary_name(scope)
        facts, sizes = await self._facts(node, call)
        try:
            decisions = decide(facts, rules.keep, await self._roots(scope), self.now())
        except RuleNotBuilt as error:
            raise Refused(
                "NOT_BUILT", f"scope {scope}: {error}", "use pushedWithin, newest or tags", failed=True
            ) from None
        return Preview(scope, node, tuple(decisions), _frees(decisions, sizes), rules.max_percent, not_done(rules))

    async def run(self, scope: str, *, confirm: bool = False, by: str = ACTOR) -> Cleaned:
        """Removes what ``preview`` shows, a repository at a time. Raises as ``preview``, and TagConflict when a tag
        moved meanwhile (it stays)."""
        preview = await self.preview(scope)
        if preview.needs_confirm and not confirm:
            shown = f"{len(preview.going)} of {len(preview.decisions)} tags ({preview.percent:.0f} %)"
            return Cleaned(
                preview, (), f"would remove {shown} of {scope}: look at the preview, then run with --confirm"
            )
        for repository, group in groupby(preview.going, key=lambda each: each.fact.repository):
            await self._remove(preview, repository, list(group), by)
        return Cleaned(preview, preview.going)

    def _rules(self, scope: str) -> Cleanup:
        declared = self.topology.scopes.get(scope)
        if declared is None:
            raise Refused(
                "SCOPE_UNKNOWN", f"no scope is called {scope!r}", f"scopes: {', '.join(self.topology.scopes)}"
            )
        if declared.cleanup is None:
            remedy = "declare one: cleanup: {every: 6h, keep: [{pushedWithin: 3d}]}"
            raise Refused("NO_CLEANUP", f"scope {scope} has no cleanup", remedy)
        return declared.cleanup

    async def _roots(self, scope: str) -> Roots:
        """Promotions in flight hold their digest, at both ends."""
        held = {}
        for row in await self.store.live():
            edge = self.topology.edge(row.edge)
            if edge is None or scope in (edge.source, edge.target):
                held[row.digest] = f"promotion {row.id} is in flight ({row.state})"
        return Roots(held, self.topology.scopes[scope].immutable_tags)

    async def _facts(self, node: str, call: Call) -> tuple[list[TagFact], _Sizes]:
        facts, sizes, inside = list[TagFact](), _Sizes(), dict[str, frozenset[str]]()
        async for repository in self._repositories(node, call):
            place = self.registries.place(node, repository)
            for state in (await read_tags(place, call) or {}).values():
                if state.digest not in sizes:
                    sizes[state.digest], inside[state.digest] = await self._reach(place, call, state.digest)
                facts.append(TagFact(repository, state.tag, state.digest, state.pushed, inside[state.digest]))
        return facts, sizes

    async def _repositories(self, node: str, call: Call) -> AsyncIterator[str]:
        registry = self.registries.place(node, "any").registry
        async for repository in every(lambda after: registry.repositories(call, after=after)):
            yield repository

    async def _remove(self, preview: Preview, repository: str, going: list[Decision], by: str) -> None:
        trash = self._rules(preview.scope).trash
        until = self.now() + trash.total_seconds() if trash else None
        changes = (TagChange(tag=each.fact.tag, expect=each.fact.digest, to=None, trash_until=until) for each in going)
        reasons = {each.fact.tag: f"{each.rule}: {each.reason}" for each in going}
        for some in in_transactions(tuple(changes)):
            await self._commit(preview, repository, some, {"by": by, "reasons": reasons})

    async def _commit(
        self, preview: Preview, repository: str, changes: tuple[TagChange, ...], why: dict[str, Any]
    ) -> None:
        """One transaction, then its record."""
        place, txid = self.registries.place(preview.node, repository), new_id("cl")
        receipt = await Committer(place, self.retry, Call(ACTOR), f"{ACTOR}:cleanup", self.now).commit(txid, changes)
        body = {"scope": preview.scope, "node": preview.node, "repository": repository, **why, "receipt": receipt}
        await asyncio.to_thread(Ledger.of_scope(self.ledgers, preview.scope).append, "cleanup", txid, body)

    async def _reach(self, place: Place, call: Call, digest: str) -> tuple[dict[str, int], frozenset[str]]:
        needed, inside = dict[str, int](), set[str]()
        async for link in walk(place.registry, call, place.repository, Digest.parse(digest), evidence=False):
            needed[str(link.descriptor.digest)] = link.descriptor.size
            if link.kind is Kind.CHILD:
                inside.add(str(link.descriptor.digest))
        return needed, frozenset(inside)


def not_done(rules: Cleanup) -> tuple[str, ...]:
    """What these rules ask for, and is not built: never a silence."""
    if rules.untagged_after is None:
        return ()
    return ("untaggedAfter is not built yet: content without a tag stays until the node collects it",)


def _frees(decisions: list[Decision], sizes: _Sizes) -> int:
    staying = {each for decision in decisions if not decision.goes for each in sizes[decision.fact.digest]}
    going = {
        digest: size
        for decision in decisions
        if decision.goes
        for digest, size in sizes[decision.fact.digest].items()
        if digest not in staying
    }
    return sum(going.values())
