"""Each copy of a blob says who gave its bytes; and layers that lie elsewhere are known of the manifests that were cached
before they were looked for."""

import json
import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from registry_node.storage.migrations.columns import NAME

revision = "0005"
down_revision = "0004"

_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
)
_MAY_HAVE_SOME = re.compile(rb"foreign|nondistributable|\\u")
_CACHED = "SELECT DISTINCT m.digest FROM cached_manifests c JOIN manifests m ON m.digest = c.digest"
_BODY = "SELECT body FROM manifests WHERE digest = :digest"
_PUT = "INSERT INTO manifest_blobs (manifest, digest, size) VALUES (:manifest, :digest, :size) ON CONFLICT DO NOTHING"
_NEEDED = """
DELETE FROM unneeded WHERE digest = :digest
AND repository_id IN (SELECT repository_id FROM repo_manifests WHERE digest = :manifest)"""


def upgrade() -> None:
    # What is here already came from nobody knows whom: it is served where it is, and shared with nobody (decision 0016).
    op.add_column("repo_blobs", sa.Column("giver", NAME))
    bind = op.get_bind()
    for (manifest,) in bind.execute(sa.text(_CACHED)).all():
        body = bytes(bind.execute(sa.text(_BODY), {"digest": manifest}).scalar_one())
        for row in _foreign(manifest, body):
            bind.execute(sa.text(_PUT), row)
            bind.execute(sa.text(_NEEDED), {"manifest": manifest, "digest": row["digest"]})


def _foreign(manifest: str, body: bytes) -> Iterator[dict[str, Any]]:
    """As rows of manifest_blobs. What is stored has been read once, and is right."""
    layers = json.loads(body).get("layers") if _MAY_HAVE_SOME.search(body) else None
    for each in layers or ():  # null is none, as for Manifest
        if each["mediaType"] in _FOREIGN:
            yield {"manifest": manifest, "digest": each["digest"], "size": each["size"]}
