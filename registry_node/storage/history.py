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

from registry_node.storage.sql import Connection

SNAPSHOT = "snapshot"  # the kind of the first line; its ``rev`` is the last position that the file has no line of
_DAY = 86400.0
_SLACK = 4  # a quarter more than is kept may gather, so that the file is not written anew with every change
_FIRST = "SELECT min(position) FROM journal"
_PRUNE = "DELETE FROM journal WHERE position <= :last"
_PRUNE_RECEIPTS = "DELETE FROM transactions WHERE at < :before"
_PRUNE_HELD = """
DELETE FROM hold_digests WHERE EXISTS (
  SELECT 1 FROM holds WHERE holds.repository = hold_digests.repository AND holds.owner = hold_digests.owner
  AND holds.until < :now)"""
_PRUNE_HOLDS = "DELETE FROM holds WHERE until < :now"
_REPOSITORIES = "SELECT id, name, rev FROM repositories ORDER BY id"
_TAGS = "SELECT name, digest, rev, pushed_at FROM tags WHERE repository_id = :repository"
_MANIFESTS = "SELECT digest, media_type FROM repo_manifests WHERE repository_id = :repository"


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
    tx.execute(_PRUNE, {"last": last - max(1, kept.changes)})
    tx.execute(_PRUNE_RECEIPTS, {"before": now - kept.receipt_days * _DAY})
    tx.execute(_PRUNE_HELD, {"now": now})
    tx.execute(_PRUNE_HOLDS, {"now": now})


def snapshot(tx: Connection, now: float) -> Iterator[bytes]:
    """The lines that stand for all changes which the index no longer has; none when it has them all."""
    first = first_position(tx)
    if first <= 1:
        return
    yield _line(kind=SNAPSHOT, repository="", rev=first - 1, actor="", at=now)
    for row in tx.stream(_REPOSITORIES):
        about = {"repository": row.name, "actor": "", "at": now}
        for tag in tx.stream(_TAGS, {"repository": row.id}):
            yield _line(kind="tag", rev=tag.rev, tag=tag.name, digest=tag.digest, pushed_at=tag.pushed_at, **about)
        for each in tx.stream(_MANIFESTS, {"repository": row.id}):
            yield _line(kind="manifest", rev=row.rev, digest=each.digest, media_type=each.media_type, **about)
        yield _line(kind="manifest-deleted", rev=row.rev, old="", **about)  # of none: for the rev alone


def _line(**values: Any) -> bytes:
    return json.dumps({"position": 0, **values}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
