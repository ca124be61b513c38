"""Lists in byte order, page by page: repositories, tags, tag states, referrers, events."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, exists, func, or_, select

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Gone, NameUnknown
from oci_wire.extension import Event, TagState, TagStates
from oci_wire.registry import Page
from registry_node.storage.schema import journal, manifests, repo_blobs, repo_manifests, repositories, tags

T = TypeVar("T")
PAGE = 1000  # when the caller does not say
MOST = 10_000
# Two questions, each answered by one end of the key; asked as one, they would read every row.
_ENDS = select(
    select(func.min(journal.c.position)).scalar_subquery(), select(func.max(journal.c.position)).scalar_subquery()
)


def repository_names(tx: Connection, after: str, limit: int | None) -> Page[str]:
    """Those that have some content."""
    used = or_(
        exists().where(repo_manifests.c.repository_id == repositories.c.id),
        exists().where(repo_blobs.c.repository_id == repositories.c.id),
    )
    statement = select(repositories.c.name).where(repositories.c.name > after, used).order_by(repositories.c.name)
    return _names(tx, statement, limit)


def tag_names(tx: Connection, repository: str, after: str, limit: int | None) -> Page[str]:
    """Raises NameUnknown."""
    key = _repository(tx, repository).id
    statement = select(tags.c.name).where(tags.c.repository_id == key, tags.c.name > after).order_by(tags.c.name)
    return _names(tx, statement, limit)


def tag_states(tx: Connection, repository: str, after: str, limit: int, known_rev: int | None) -> TagStates | None:
    """None: nothing has changed since ``known_rev``. Raises NameUnknown."""
    found = _repository(tx, repository)
    if known_rev == found.rev:
        return None
    statement = select(tags).where(tags.c.repository_id == found.id, tags.c.name > after).order_by(tags.c.name)
    page = _page(
        tx,
        statement,
        limit,
        lambda row: TagState(tag=row.name, digest=row.digest, rev=row.rev, pushed=row.pushed_at),
        lambda row: str(row.name),
    )
    return TagStates(rev=found.rev, tags=page.items, next=page.next)


def referrers(tx: Connection, repository: str, subject: Digest, artifact_type: str, after: str) -> Page[Descriptor]:
    """Ordered by digest; empty when nothing refers to it, whether it is here or not."""
    statement = (
        select(
            repo_manifests.c.digest,
            repo_manifests.c.media_type,
            manifests.c.size,
            manifests.c.artifact_type,
            manifests.c.annotations,
        )
        .join(repositories, repositories.c.id == repo_manifests.c.repository_id)
        .join(manifests, manifests.c.digest == repo_manifests.c.digest)
        .where(
            repositories.c.name == repository,
            repo_manifests.c.subject == str(subject),
            repo_manifests.c.digest > after,
        )
        .order_by(repo_manifests.c.digest)
    )
    if artifact_type:
        statement = statement.where(manifests.c.artifact_type == artifact_type)
    return _page(tx, statement, None, _referrer, lambda row: str(row.digest))


def events(tx: Connection, after: int, limit: int = MOST) -> Sequence[Event]:
    """Raises Gone when some of them are no longer kept, or never were."""
    first, last = tx.execute(_ENDS).one()
    if after > (last or 0) or (first or 1) > after + 1:
        raise Gone(
            f"events after {after} are not kept; compare tags instead, then go on from {last or 0}",
            detail={"position": last or 0},
        )
    statement = select(journal).where(journal.c.position > after).order_by(journal.c.position).limit(limit)
    return [_event(row) for row in tx.execute(statement)]


def _repository(tx: Connection, name: str) -> Any:
    row = tx.execute(select(repositories).where(repositories.c.name == name)).first()
    if row is None:
        raise NameUnknown(f"there is no repository {name}")
    return row


def _names(tx: Connection, statement: Any, limit: int | None) -> Page[str]:
    """As ``_page``, of a statement that gives names alone. Straight from the driver: SQLAlchemy's rows would take
    three times as long for a large page."""
    wanted = PAGE if limit is None else max(0, min(limit, MOST))
    if wanted == 0:
        return Page(())
    result = tx.execute(statement.limit(wanted + 1))
    assert result.cursor is not None
    names = tuple(name for (name,) in result.cursor.fetchall())
    result.close()
    return Page(names[:wanted], names[wanted - 1]) if len(names) > wanted else Page(names)


def _page(
    tx: Connection, statement: Any, limit: int | None, read: Callable[[Any], T], name: Callable[[Any], str]
) -> Page[T]:
    wanted = PAGE if limit is None else max(0, min(limit, MOST))
    if wanted == 0:
        return Page(())
    rows = tx.execute(statement.limit(wanted + 1)).all()
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
