"""What replication remembers between runs: how far events were applied, what each target has, what is not ledgered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from promotions.schema import OUTBOX, POSITIONS, REPLICATED
from promotions.store import Store


@dataclass(frozen=True, slots=True)
class Replicated:
    """What a target has of a repository: ``at`` is when it was last looked at, ``lag`` in seconds."""

    replication: str
    target: str
    repository: str
    at: float
    lag: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Unledgered:
    txid: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Positions:
    store: Store

    async def position(self, replication: str, node: str) -> int | None:
        """The last event that was applied; None: none yet, so compare everything first."""
        where = (POSITIONS.c.replication == replication) & (POSITIONS.c.node == node)
        return await self.store.read(lambda tx: tx.execute(select(POSITIONS.c.position).where(where)).scalar())

    async def move(self, replication: str, node: str, position: int) -> None:
        row = {"replication": replication, "node": node, "position": position}
        query = insert(POSITIONS).values(**row)
        query = query.on_conflict_do_update(index_elements=["replication", "node"], set_={"position": position})
        await self.store.write(lambda tx: tx.execute(query))

    async def note(self, row: Replicated) -> None:
        """Remembers how a target stands. A run that moved nothing keeps the lag of the last that did."""
        values = {name: getattr(row, name) for name in Replicated.__dataclass_fields__}
        changed = {"at": row.at, "problem": row.problem} | ({"lag": row.lag} if row.lag is not None else {})
        query = insert(REPLICATED).values(**values)
        keys = ["replication", "target", "repository"]
        query = query.on_conflict_do_update(index_elements=keys, set_=changed)
        await self.store.write(lambda tx: tx.execute(query))

    async def referrers_rev(self, replication: str, target: str, repository: str) -> int | None:
        """The source's rev up to which referrers were compared; None: never."""
        query = select(REPLICATED.c.referrers_rev).where(*_of(REPLICATED, replication, target, repository))
        return await self.store.read(lambda tx: tx.execute(query).scalar())

    async def referrers_compared(self, replication: str, target: str, repository: str, rev: int, at: float) -> None:
        names = {"replication": replication, "target": target, "repository": repository}
        query = insert(REPLICATED).values(**names, at=at, referrers_rev=rev)
        query = query.on_conflict_do_update(index_elements=list(names), set_={"referrers_rev": rev})
        await self.store.write(lambda tx: tx.execute(query))

    async def compared(self, replication: str, targets: Iterable[str]) -> set[str]:
        """The repositories whose source's rev is remembered for any of these targets."""
        told = (REPLICATED.c.replication == replication) & REPLICATED.c.target.in_(list(targets))
        query = select(REPLICATED.c.repository).where(told, REPLICATED.c.referrers_rev.is_not(None))
        return set(await self.store.read(lambda tx: tx.execute(query).scalars().all()))

    async def all_compared(self, replication: str, rev: int) -> None:
        """Remembers this rev for every repository of which one is remembered."""
        known = (REPLICATED.c.replication == replication) & REPLICATED.c.referrers_rev.is_not(None)
        query = update(REPLICATED).where(known).values(referrers_rev=rev)
        await self.store.write(lambda tx: tx.execute(query))

    async def standing(self, replication: str) -> list[Replicated]:
        """How every target stood when it was last looked at."""
        query = select(REPLICATED).where(REPLICATED.c.replication == replication)
        rows = await self.store.read(lambda tx: tx.execute(query).all())
        return [Replicated(*(each._mapping[name] for name in Replicated.__dataclass_fields__)) for each in rows]

    async def sending(self, replication: str, target: str, repository: str, record: Unledgered) -> None:
        """Written before tags are changed, so that a crash loses no ledger record."""
        values = {"txid": record.txid, "replication": replication, "target": target, "repository": repository}
        query = insert(OUTBOX).values(**values, body=record.body).on_conflict_do_nothing()
        await self.store.write(lambda tx: tx.execute(query))

    async def unledgered(self, replication: str, target: str, repository: str) -> list[Unledgered]:
        query = select(OUTBOX).where(*_of(OUTBOX, replication, target, repository))
        rows = await self.store.read(lambda tx: tx.execute(query).all())
        return [Unledgered(each.txid, each.body) for each in rows]

    async def ledgered(self, txid: str) -> None:
        await self.store.write(lambda tx: tx.execute(delete(OUTBOX).where(OUTBOX.c.txid == txid)))


def _of(table: Table, replication: str, target: str, repository: str) -> tuple[ColumnElement[bool], ...]:
    return (table.c.replication == replication, table.c.target == target, table.c.repository == repository)
