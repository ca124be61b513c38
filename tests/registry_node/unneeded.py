"""What nobody needs in an index: as it is written down there, and as a look at everything finds it."""

from __future__ import annotations

from registry_node.storage import garbage
from registry_node.storage.sql import Connection

Found = tuple[set[str], set[tuple[str, str]]]


def looked_for(tx: Connection) -> Found:
    """What no repository has, and what no manifest of its repository names: by going through everything."""

    def rows(question: str) -> set[tuple[str, ...]]:
        return {tuple(row) for row in tx.execute(question)}

    blobs = rows("SELECT r.name, l.digest FROM repo_blobs l JOIN repositories r ON r.id = l.repository_id")
    manifests = rows("SELECT r.name, l.digest FROM repo_manifests l JOIN repositories r ON r.id = l.repository_id")
    named = rows("SELECT manifest, digest FROM manifest_blobs")
    content = rows("SELECT digest FROM blobs") | rows("SELECT digest FROM manifests")
    needed = {(name, blob) for name, held in manifests for manifest, blob in named if manifest == held}
    return {digest for (digest,) in content} - {digest for _, digest in blobs | manifests}, {
        (name, digest) for name, digest in blobs if (name, digest) not in needed
    }


def written_down(tx: Connection) -> Found:
    return set(garbage.unlinked(tx)), {(each.repository, each.digest) for each in garbage.unneeded(tx)}
