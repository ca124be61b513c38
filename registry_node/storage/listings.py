"""Lists in byte order, page by page: repositories, tags, tag states, referrers, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Gone, NameUnknown
from oci_wire.extension import Event, TagState, TagStates
from oci_wire.registry import Page
from registry_node.storage.sql import Connection, Values

T = TypeVar("T")
PAGE = 1000  # when the caller does not say
MOST = 10_000
# Two questions, each answered by one end of the key; asked as one, they would read every row.
_ENDS = "SELECT (SELECT min(position) FROM journal) AS first, (SELECT max(position) FROM journal) AS last"
_EVENTS = """
SELECT position, kind, repository, rev, tag, old, digest, actor, at FROM journal
WHERE position > :after ORDER BY position LIMIT :limit"""
_REPOSITORY = "SELECT id, rev FROM repositories WHERE name = :name"
_REPOSITORIES = """
SELECT name FROM repositories r WHERE name > :after
AND (EXISTS (SELECT 1 FROM repo_manifests WHERE repository_id = r.id)
  OR EXISTS (SELECT 1 FROM repo_blobs WHERE repository_id = r.id))
ORDER BY name LIMIT :limit"""
_TAGS = "FROM tags WHERE repository_id = :repository AND name > :after"
_TAG_STATES = f"SELECT name, digest, rev, pushed_at {_TAGS} ORDER BY name LIMIT :limit"
# SQLite copies each row of a subquery that has an order and an end, which is half of the time of a long page. So the end
# is looked up first, and the order, which is that of the key anyway, is made sure of afterwards.
_NEXT_TAG = f"SELECT name {_TAGS} ORDER BY name LIMIT 1 OFFSET :limit"
_TAG_NAMES, _TAGS_UNTIL = f"SELECT name {_TAGS}", f"SELECT name {_TAGS} AND name < :until"
_REFERRERS = """
SELECT l.digest, l.media_type, m.size, m.artifact_type, m.annotations FROM repositories r
JOIN repo_manifests l ON l.repository_id = r.id
JOIN manifests m ON m.digest = l.digest
WHERE r.name = :repository AND l.subject = :subject AND l.digest > :after"""
_OF_TYPE, _ORDERED = " AND m.artifact_type = :artifact_type", " ORDER BY l.digest LIMIT :limit"


def repository_names(tx: Connection, after: str, limit: int | None) -> Page[str]:
    """Those that have some content."""
    wanted = _wanted(limit)
    if wanted == 0:
        return Page(())
    names = tuple(tx.names(_REPOSITORIES, {"after": after, "limit": wanted + 1}))
    return Page(names[:wanted], names[wanted - 1]) if len(names) > wanted else Page(names)


def tag_names(tx: Connection, repository: str, after: str, limit: int | None) -> Page[str]:
    """Raises NameUnknown."""
    here = {"repository": _repository(tx, repository).id, "after": after}
    wanted = _wanted(limit)
    if wanted == 0:
        return Page(())
    until = tx.execute(_NEXT_TAG, {**here, "limit": wanted}).scalar()
    names = sorted(tx.names(_TAG_NAMES, here) if until is None else tx.names(_TAGS_UNTIL, {**here, "until": until}))
    return Page(tuple(names), None if until is None else names[-1])


def tag_states(tx: Connection, repository: str, after: str, limit: int, known_rev: int | None) -> TagStates | None:
    """None: nothing has changed since ``known_rev``. Raises NameUnknown."""
    found = _repository(tx, repository)
    if known_rev == found.rev:
        return None
    page = _page(
        tx,
        _TAG_STATES,
        {"repository": found.id, "after": after},
        limit=limit,
        read=lambda row: TagState(tag=row.name, digest=row.digest, rev=row.rev, pushed=row.pushed_at),
        name=lambda row: str(row.name),
    )
    return TagStates(rev=found.rev, tags=page.items, next=page.next)


def referrers(tx: Connection, repository: str, subject: Digest, artifact_type: str, after: str) -> Page[Descriptor]:
    """Ordered by digest; empty when nothing refers to it, whether it is here or not."""
    values = {"repository": repository, "subject": str(subject), "after": after, "artifact_type": artifact_type}
    statement = f"{_REFERRERS}{_OF_TYPE if artifact_type else ''}{_ORDERED}"
    return _page(tx, statement, values, limit=None, read=_referrer, name=lambda row: str(row.digest))


def events(tx: Connection, after: int, limit: int = MOST) -> Sequence[Event]:
    """Raises Gone when some of them are no longer kept, or never were."""
    first, last = tx.execute(_ENDS).first()
    if after > (last or 0) or (first or 1) > after + 1:
        raise Gone(
            f"events after {after} are not kept; compare tags instead, then go on from {last or 0}",
            detail={"position": last or 0},
        )
    return [_event(row) for row in tx.execute(_EVENTS, {"after": after, "limit": limit})]


def _repository(tx: Connection, name: str) -> Any:
    row = tx.execute(_REPOSITORY, {"name": name}).first()
    if row is None:
        raise NameUnknown(f"there is no repository {name}")
    return row


def _wanted(limit: int | None) -> int:
    return PAGE if limit is None else max(0, min(limit, MOST))


def _page(
    tx: Connection,
    statement: str,
    values: Values,
    *,
    limit: int | None,
    read: Callable[[Any], T],
    name: Callable[[Any], str],
) -> Page[T]:
    """``statement``: with one more parameter, ``limit``."""
    wanted = _wanted(limit)
    if wanted == 0:
        return Page(())
    rows = list(tx.execute(statement, {**values, "limit": wanted + 1}))
    shown = rows[:wanted]
    return Page(tuple(read(row) for row in shown), name(shown[-1]) if len(rows) > wanted else None)


def _referrer(row: Any) -> Descriptor:
    digest = Digest.parse(row.digest)
    return Descriptor(row.media_type, digest, row.size, json.loads(row.annotations), row.artifact_type)


def _event(row: Any) -> Event:
    return Event(
        position=row.position,
        kind=row.kind,
        repository=row.repository,
        rev=row.rev,
        tag=row.tag,
        old=row.old,
        digest=row.digest,
        actor=row.actor,
        at=row.at,
    )
