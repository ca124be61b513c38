"""Which tags reach a digest: up from a blob to its manifests, from those to the indexes that list them, and from what
refers to something (a signature) to its subject. For callers whose grant names tags (identity/grants.py).

The questions are the same few for every digest, whether other tags reach it or none has it: the time of an answer must
not tell the two apart. Their work grows with the manifests of the repository, not with those of the node: a base layer
of a million images is as quick to judge as any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from registry_node.storage.sql import Connection

_REPOSITORY = "SELECT id FROM repositories WHERE name = :name"
_MANIFESTS_OF_BLOB = """
SELECT m.digest FROM repo_manifests m WHERE m.repository_id = :repository
AND EXISTS (SELECT 1 FROM manifest_blobs b WHERE b.manifest = m.digest AND b.digest = :digest)"""
_CHILDREN = """
SELECT c.digest AS lower, c.manifest AS upper
FROM manifest_children c JOIN repo_manifests m ON m.digest = c.manifest WHERE m.repository_id = :repository"""
_SUBJECTS = """
SELECT digest AS lower, subject AS upper FROM repo_manifests
WHERE repository_id = :repository AND subject IS NOT NULL"""
_TAGS = "SELECT name, digest FROM tags WHERE repository_id = :repository"


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
