"""What nobody needs, known at any time: two tables that every transaction leaves exact.

| table | has | since |
|---|---|---|
| unlinked | content, of blobs and manifests, that no repository has | the last one lost it |
| unneeded | blobs of a repository that no manifest of it names | they were last pushed, or lost the last one that did |

To look for them is work that grows with all that is there; to ask for what is written down grows with what is found.

Whoever removes something
- asks for what has been here for longer than any push takes (``before``): a push links its blobs first and names them
  minutes later, and one that was told by HEAD that a blob is here sends nothing before its manifest;
- asks again in the writing transaction that removes it (``is_unneeded``, eviction.forget): a page is the state of one
  moment, and what is pushed makes its lines go in its own transaction. Those follow one another;
- asks the rules (``unit.check(BlobRemoved(...))``) where there are any: a hold or a tag transaction may count on a digest;
- removes a file after its row, and never while somebody puts the same content in place (the mirror's ``Placing``).

A manifest that comes after its blob was taken is refused with MANIFEST_BLOB_UNKNOWN: nothing is ever left half there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from registry_node.storage.sql import Connection

PAGE = 1000
# A base layer is in a million images, and of those a repository has ten. A layer of its own is in one image, of the ten
# thousand that its repository may have. So whoever asks begins at the end that is surely short.
_MANY = 100
_NAMED = f"""CASE WHEN (SELECT 1 FROM manifest_blobs p WHERE p.digest = {{digest}} LIMIT 1 OFFSET {_MANY}) IS NULL
THEN EXISTS (SELECT 1 FROM manifest_blobs n CROSS JOIN repo_manifests m
  WHERE n.digest = {{digest}} AND m.repository_id = :repository AND m.digest = n.manifest)
ELSE EXISTS (SELECT 1 FROM repo_manifests m CROSS JOIN manifest_blobs n
  WHERE m.repository_id = :repository AND n.manifest = m.digest AND n.digest = {{digest}}) END"""  # noqa: S608 - our own text
_AGAIN = "ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since"
_BLOB_CAME = f"""
INSERT INTO unneeded (repository_id, digest, since)
SELECT :repository, :digest, :now WHERE NOT {_NAMED.format(digest=":digest")} {_AGAIN}"""
_BLOB_WENT = "DELETE FROM unneeded WHERE repository_id = :repository AND digest = :digest"
_MANIFEST_CAME = """
DELETE FROM unneeded WHERE repository_id = :repository
AND digest IN (SELECT digest FROM manifest_blobs WHERE manifest = :digest)"""
_MANIFEST_WENT = f"""
INSERT INTO unneeded (repository_id, digest, since)
SELECT l.repository_id, l.digest, :now FROM manifest_blobs b CROSS JOIN repo_blobs l
WHERE b.manifest = :digest AND l.repository_id = :repository AND l.digest = b.digest
AND NOT {_NAMED.format(digest="b.digest")} {_AGAIN}"""  # noqa: S608 - our own text
_LINKED = "DELETE FROM unlinked WHERE digest = :digest"
_LOST = """
INSERT INTO unlinked (digest, since) SELECT :digest, :now
WHERE NOT EXISTS (SELECT 1 FROM repo_blobs WHERE digest = :digest)
AND NOT EXISTS (SELECT 1 FROM repo_manifests WHERE digest = :digest)
ON CONFLICT (digest) DO UPDATE SET since = excluded.since"""
_UNLINKED = "SELECT digest FROM unlinked WHERE digest > :after AND since <= :before ORDER BY digest LIMIT :most"
_UNNEEDED = """
SELECT u.repository_id, r.name, u.digest FROM unneeded u CROSS JOIN repositories r
WHERE (u.repository_id, u.digest) > (:repository, :digest) AND u.since <= :before AND r.id = u.repository_id
ORDER BY u.repository_id, u.digest LIMIT :most"""
_IS_UNNEEDED = "SELECT 1 FROM unneeded WHERE repository_id = :repository AND digest = :digest AND since <= :before"


class Unneeded(NamedTuple):
    """A blob of a repository that no manifest of it names."""

    key: int  # of the repository
    repository: str
    digest: str


FIRST = Unneeded(0, "", "")


def unlinked(tx: Connection, *, before: float = math.inf, after: str = "", most: int = PAGE) -> Sequence[str]:
    """Content that no repository has since ``before`` (seconds since the epoch), in the order of digests, a page of it
    behind ``after``."""
    return tx.execute(_UNLINKED, {"before": before, "after": after, "most": most}).scalars()


def unneeded(
    tx: Connection, *, before: float = math.inf, after: Unneeded = FIRST, most: int = PAGE
) -> Sequence[Unneeded]:
    """The same for links that no manifest of their repository needs, repository by repository."""
    values = {"before": before, "repository": after.key, "digest": after.digest, "most": most}
    return [Unneeded(*row) for row in tx.execute(_UNNEEDED, values)]


def is_unneeded(tx: Connection, repository: int, digest: str, *, before: float = math.inf) -> bool:
    """Whether a repository has it, and no manifest there has named it since ``before``."""
    here = {"repository": repository, "digest": digest, "before": before}
    return tx.execute(_IS_UNNEEDED, here).first() is not None


def blob_came(tx: Connection, repository: int, digest: str, now: float) -> None:
    """To be called when a repository has got a blob, or got it again."""
    here = {"repository": repository, "digest": digest, "now": now}
    tx.execute(_BLOB_CAME, here)
    tx.execute(_LINKED, here)


def blob_went(tx: Connection, repository: int, digest: str, now: float) -> None:
    here = {"repository": repository, "digest": digest, "now": now}
    tx.execute(_BLOB_WENT, here)
    tx.execute(_LOST, here)


def manifest_came(tx: Connection, repository: int, digest: str) -> None:
    """To be called when a repository has got a manifest, and the index what that names."""
    here = {"repository": repository, "digest": digest}
    tx.execute(_MANIFEST_CAME, here)
    tx.execute(_LINKED, here)


def manifest_went(tx: Connection, repository: int, digest: str, now: float) -> None:
    here = {"repository": repository, "digest": digest, "now": now}
    tx.execute(_MANIFEST_WENT, here)
    tx.execute(_LOST, here)
