"""Which tags reach a digest: up from a blob to its manifests, from those to the indexes that list them, and from what
refers to something (a signature) to its subject. For callers whose grant names tags (identity/grants.py).

The questions are the same few for every digest, whether other tags reach it or none has it: the time of an answer must
not tell the two apart. Their work grows with the manifests of the repository, not with those of the node: a base layer
of a million images is as quick to judge as any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from sqlalchemy import Connection, bindparam, exists, select

from registry_node.storage.schema import manifest_blobs, manifest_children, repo_manifests, repositories, tags

_HERE = repo_manifests.c.repository_id == bindparam("repository")
_REPOSITORY = select(repositories.c.id).where(repositories.c.name == bindparam("name"))
_MANIFESTS_OF_BLOB = select(repo_manifests.c.digest).where(
    _HERE,
    exists().where(
        manifest_blobs.c.manifest == repo_manifests.c.digest, manifest_blobs.c.digest == bindparam("digest")
    ),
)
_CHILDREN = (
    select(manifest_children.c.digest, manifest_children.c.manifest)
    .join(repo_manifests, repo_manifests.c.digest == manifest_children.c.manifest)
    .where(_HERE)
)
_SUBJECTS = select(repo_manifests.c.digest, repo_manifests.c.subject).where(
    _HERE, repo_manifests.c.subject.is_not(None)
)
_TAGS = select(tags.c.name, tags.c.digest).where(tags.c.repository_id == bindparam("repository"))


def reached(tx: Connection, name: str, digest: str, wanted: Callable[[str], bool]) -> bool:
    """Whether a tag that is ``wanted`` reaches the digest. False for what is not here."""
    repository = tx.execute(_REPOSITORY, {"name": name}).scalar()
    if repository is None:
        return False
    here = {"repository": repository}
    above: defaultdict[str, list[str]] = defaultdict(list)
    for question in (_CHILDREN, _SUBJECTS):
        for lower, upper in tx.execute(question, here):
            above[lower].append(upper)
    over = {digest, *tx.execute(_MANIFESTS_OF_BLOB, {**here, "digest": digest}).scalars()}
    ahead = list(over)
    while ahead:
        new = [each for each in above.get(ahead.pop(), ()) if each not in over]
        over.update(new)
        ahead += new
    return any(shown in over and wanted(tag) for tag, shown in tx.execute(_TAGS, here))
