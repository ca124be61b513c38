"""Which tags reach a digest: up from a blob to its manifests, from those to the indexes that list them, and from what
refers to something (a signature) to its subject. For callers whose grant names tags (identity/grants.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, select

from registry_node.storage.schema import manifest_blobs, manifest_children, repo_manifests, repositories, tags

_AT_ONCE = 500  # digests in one question
_LEVELS = 4  # a layer, its image, the index over that, and one for a signature
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
    """Whether a tag that is ``wanted`` reaches the digest. False for what is not here.

    No takes as many questions for a digest that only other tags reach as for one that is not here at all (unless it
    lies deeper than images do): the time of an answer must not tell the two apart."""
    repository = tx.execute(_REPOSITORY, {"name": name}).scalar()
    level, seen, asked = {digest}, set[str](), 0
    while repository is not None and (level or asked < _LEVELS):
        if any(wanted(tag) for tag in _ask(tx, (_TAGS,), repository, level or {digest})):
            return True
        seen |= level
        level = set(_ask(tx, (*_PARENTS, _SUBJECTS), repository, level or {digest})) - seen
        asked += 1
    return False


def _ask(tx: Connection, questions: Iterable[Select[Any]], repository: int, digests: set[str]) -> Iterator[str]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), _AT_ONCE):
        values = {"repository": repository, "digests": ordered[start : start + _AT_ONCE]}
        for question in questions:
            yield from tx.execute(question, values).scalars()
