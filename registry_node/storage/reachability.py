"""Which tags reach a digest: up from a blob to its manifests, from those to the indexes that list them, and from what
refers to something (a signature) to its subject. For callers whose grant names tags (identity/grants.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, select

from registry_node.storage.schema import manifest_blobs, manifest_children, repo_manifests, repositories, tags

_AT_ONCE = 500  # digests in one question
_HERE: BindParameter[int] = bindparam("repository")
_THESE: BindParameter[list[str]] = bindparam("digests", expanding=True)
_REPOSITORY = select(repositories.c.id).where(repositories.c.name == bindparam("name"))
_TAGS = select(tags.c.name).where(tags.c.repository_id == _HERE, tags.c.digest.in_(_THESE))
_SUBJECTS = select(repo_manifests.c.subject).where(
    repo_manifests.c.repository_id == _HERE,
    repo_manifests.c.digest.in_(_THESE),
    repo_manifests.c.subject.is_not(None),
)
_PARENTS = tuple(
    select(table.c.manifest)
    .join(repo_manifests, repo_manifests.c.digest == table.c.manifest)
    .where(repo_manifests.c.repository_id == _HERE, table.c.digest.in_(_THESE))
    for table in (manifest_blobs, manifest_children)
)


def reached(tx: Connection, name: str, digest: str, wanted: Callable[[str], bool]) -> bool:
    """Whether a tag that is ``wanted`` reaches the digest. False for what is not here."""
    repository = tx.execute(_REPOSITORY, {"name": name}).scalar()
    level, seen = {digest}, set[str]()
    while level and repository is not None:
        if any(wanted(tag) for tag in _ask(tx, (_TAGS,), repository, level)):
            return True
        seen |= level
        level = set(_ask(tx, (*_PARENTS, _SUBJECTS), repository, level)) - seen
    return False


def _ask(tx: Connection, questions: Iterable[Select[Any]], repository: int, digests: set[str]) -> Iterator[str]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), _AT_ONCE):
        values = {"repository": repository, "digests": ordered[start : start + _AT_ONCE]}
        for question in questions:
            yield from tx.execute(question, values).scalars()
