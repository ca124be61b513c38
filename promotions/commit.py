"""The moment at which an image shows: its tags change at the target, all in one step or not at all.

At our nodes: a lease with a fencing token, then one transaction with each tag's expected digest, named by the
promotion, so that a lost answer can be read back. Elsewhere: one tag after the other, immutable ones first, each
looked at before and after; the receipt says so (``best-effort``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from oci_wire.digest import Digest
from oci_wire.errors import Conflict, Gone, PreconditionFailed, Unavailable
from oci_wire.extension import Lease, LeaseRequest, TagChange, TagReceipt, TagTransaction
from oci_wire.registry import Call
from promotions.place import Place
from promotions.retry import RetryPolicy
from promotions.transfer import current

LEASE_SECONDS = 60.0
MAX_CHANGES = 1000  # of TagTransaction
LEASE_PATIENCE = 90.0  # seconds to wait for another holder; longer than its lease can be without renewal


class TagConflict(Exception):
    """A tag at the target is not what it was expected to be. Nothing was overwritten."""

    def __init__(self, place: Place, moved: dict[str, Any], expected: dict[str, str | None]) -> None:
        said = "; ".join(
            f"{tag} shows {now or 'nothing'}, expected {expected.get(tag) or 'nothing'}" for tag, now in moved.items()
        )
        super().__init__(f"target {place}: {said}")
        self.moved = moved


class NotShown(Exception):
    """The target gave a receipt for a change of tags, and shows something else."""

    def __init__(self, place: Place, receipt: TagReceipt, shown: dict[str, str | None]) -> None:
        said = "; ".join(f"tag {tag} shows {now or 'nothing'}" for tag, now in sorted(shown.items()))
        super().__init__(f"target {place} gave a receipt for {receipt.txid}, but {said}")


class LeaseHeld(Unavailable):
    """Another promotion changes tags of this repository, for longer than we wait."""


class Fenced(Unavailable):
    """Another runner took this commit over while we were away."""


@dataclass(frozen=True, slots=True)
class Committer:
    """Changes tags at one place for one holder. ``txid`` names the change for ever."""

    place: Place
    retry: RetryPolicy
    call: Call
    actor: str
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    lease_patience: float = LEASE_PATIENCE

    async def landed(self, txid: str) -> dict[str, Any] | None:
        """The receipt of an earlier try whose answer was lost."""
        if not await self.transactional():
            return None
        receipt = await self.place.registry.read_transaction(self.call, self.place.repository, txid)
        return _receipt(receipt) if receipt else None

    async def transactional(self) -> bool:
        return await self.place.registry.features(self.call) is not None

    async def commit(
        self,
        txid: str,
        changes: tuple[TagChange, ...],
        *,
        origin_time: float | None = None,
        floating: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """The receipt. ``floating`` tags come last where there is no transaction.

        Raises TagConflict, TagImmutable, ManifestUnknown, LeaseHeld, Fenced, RegistryError."""
        if await self.transactional():
            return _receipt(await self._transaction(txid, changes, origin_time))
        return await self._one_by_one(txid, changes, floating)

    async def _transaction(self, txid: str, changes: tuple[TagChange, ...], origin_time: float | None) -> TagReceipt:
        lease = await self._lease(txid)
        transaction = TagTransaction(
            lease=lease.id,
            token=lease.token,
            not_after=lease.expires,  # by the node's own clock: ours may be minutes away from it
            actor=self.actor,
            tags=changes,
            origin_time=origin_time,
        )
        registry, repository = self.place.registry, self.place.repository
        try:
            receipt = await self.retry(lambda: registry.commit_tags(self.call, repository, txid, transaction))
            await self._look(receipt)
            return receipt
        except PreconditionFailed as error:
            raise TagConflict(self.place, _moved(error), {each.tag: each.expect for each in changes}) from None
        except Conflict as error:
            return await self._after_conflict(txid, changes, error)
        finally:
            await self._release(lease)

    async def _look(self, receipt: TagReceipt) -> None:
        """A receipt is not the fact. Raises NotShown, unless the repository has changed since."""
        shown = {each.tag: await current(self.place, self.call, each.tag) for each in receipt.effects}
        wrong = {each.tag: shown[each.tag] for each in receipt.effects if shown[each.tag] != each.new}
        if not wrong:
            return
        state = await self.place.registry.tag_states(self.call, self.place.repository, limit=1)
        if state is None or state.rev <= receipt.rev:
            raise NotShown(self.place, receipt, wrong)

    async def _after_conflict(self, txid: str, changes: tuple[TagChange, ...], error: Conflict) -> TagReceipt:
        """Landed by another runner of ours; or not at all; or the id was used for something else."""
        receipt = await self.place.registry.read_transaction(self.call, self.place.repository, txid)
        if receipt is None:
            raise Fenced(f"target {self.place}: {error.message}") from None
        if {each.tag: each.new for each in receipt.effects} != {each.tag: each.to for each in changes}:
            raise error
        return receipt

    async def _lease(self, holder: str) -> Lease:
        asked, until = LeaseRequest(holder=holder, ttl=LEASE_SECONDS), self.clock() + self.lease_patience
        while True:
            try:
                return await self.retry(lambda: self.place.registry.take_lease(self.call, self.place.repository, asked))
            except Conflict as error:
                if self.clock() >= until:
                    raise LeaseHeld(f"target {self.place}: {error.message}") from None
                await self.sleep(0.2)

    async def _release(self, lease: Lease) -> None:
        try:
            await self.place.registry.release_lease(self.call, self.place.repository, lease.id, lease.token)
        except (Gone, Unavailable):
            return  # it ends by itself

    async def _one_by_one(self, txid: str, changes: tuple[TagChange, ...], floating: frozenset[str]) -> dict[str, Any]:
        for change in sorted(changes, key=lambda each: (each.tag in floating, each.tag)):
            await self._one(change)
        effects = [{"tag": each.tag, "old": each.expect, "new": each.to} for each in changes]
        return {"commit": "best-effort", "txid": txid, "rev": None, "at": self.clock(), "effects": effects}

    async def _one(self, change: TagChange) -> None:
        now = await current(self.place, self.call, change.tag)
        if now == change.to:  # an earlier try got this far
            return
        if now != change.expect:
            raise TagConflict(self.place, {change.tag: now}, {change.tag: change.expect})
        if change.to is None:
            await self.place.registry.delete_tag(self.call, self.place.repository, change.tag)
        else:
            await self._point(change.tag, Digest.parse(change.to))
        if (seen := await current(self.place, self.call, change.tag)) != change.to:
            raise TagConflict(self.place, {change.tag: seen}, {change.tag: change.to})

    async def _point(self, tag: str, digest: Digest) -> None:
        registry, repository = self.place.registry, self.place.repository
        manifest = await registry.get_manifest(self.call, repository, str(digest))
        await self.retry(lambda: registry.put_manifest(self.call, repository, manifest, tags=(tag,)))


def in_transactions(changes: tuple[TagChange, ...]) -> Iterator[tuple[TagChange, ...]]:
    """As many at a time as one transaction takes."""
    for start in range(0, len(changes), MAX_CHANGES):
        yield changes[start : start + MAX_CHANGES]


def _receipt(receipt: TagReceipt) -> dict[str, Any]:
    return {"commit": "transaction", **receipt.model_dump(mode="json")}


def _moved(error: Any) -> dict[str, Any]:
    return error.detail if isinstance(error.detail, dict) else {}
