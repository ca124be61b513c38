"""How much of the past is kept: without an end, journal and receipts would grow for ever.

The newest ``changes`` lines of the journal stay, in the index and in its file; receipts of tag transactions stay for
``receipt_days``. What the file loses is made good by a snapshot at its beginning: the present state, as lines without a
position. A rebuild plays the snapshot, then the lines after it; those repeat some of what the snapshot has, in their
order, and so end in the same state.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

from registry_node.storage.schema import hold_digests, holds, journal, repo_manifests, repositories, tags, transactions

SNAPSHOT = "snapshot"  # the kind of the first line; its ``rev`` is the last position that the file has no line of
_DAY = 86400.0
_SLACK = 4  # a quarter more than is kept may gather, so that the file is not written anew with every change
_FIRST = select(func.min(journal.c.position))


@dataclass(frozen=True, slots=True)
class Kept:
    """How many changes, and for how many days receipts."""

    changes: int = 1_000_000
    receipt_days: float = 30.0


def first_position(tx: Connection) -> int:
    """Of what the index still has; 0 for nothing."""
    return int(tx.execute(_FIRST).scalar() or 0)


def is_too_long(tx: Connection, last: int, kept: Kept) -> bool:
    return last - first_position(tx) + 1 > kept.changes + kept.changes // _SLACK


def prune(tx: Connection, last: int, kept: Kept, now: float) -> None:
    """In a writing transaction: drops what is older. The last change always stays: positions go on from it."""
    tx.execute(delete(journal).where(journal.c.position <= last - max(1, kept.changes)))
    tx.execute(delete(transactions).where(transactions.c.at < now - kept.receipt_days * _DAY))
    ended = select(holds.c.repository, holds.c.owner).where(holds.c.until < now).subquery()
    same = (hold_digests.c.repository == ended.c.repository) & (hold_digests.c.owner == ended.c.owner)
    tx.execute(delete(hold_digests).where(select(ended.c.owner).where(same).exists()))
    tx.execute(delete(holds).where(holds.c.until < now))


def snapshot(tx: Connection, now: float) -> Iterator[bytes]:
    """The lines that stand for all changes which the index no longer has; none when it has them all."""
    first = first_position(tx)
    if first <= 1:
        return
    yield _line(kind=SNAPSHOT, repository="", rev=first - 1, actor="", at=now)
    for row in _rows(
        tx, select(repositories.c.id, repositories.c.name, repositories.c.rev).order_by(repositories.c.id)
    ):
        about = {"repository": row.name, "actor": "", "at": now}
        for tag in _rows(tx, select(tags).where(tags.c.repository_id == row.id)):
            yield _line(kind="tag", rev=tag.rev, tag=tag.name, digest=tag.digest, pushed_at=tag.pushed_at, **about)
        for each in _rows(tx, select(repo_manifests).where(repo_manifests.c.repository_id == row.id)):
            yield _line(kind="manifest", rev=row.rev, digest=each.digest, media_type=each.media_type, **about)
        yield _line(kind="manifest-deleted", rev=row.rev, old="", **about)  # of none: for the rev alone


def _rows(tx: Connection, statement: Any) -> Iterator[Any]:
    """A thousand at a time: there may be millions."""
    yield from tx.execute(statement.execution_options(yield_per=1000))


def _line(**values: Any) -> bytes:
    return json.dumps({"position": 0, **values}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
