"""What nobody needs is written down as it comes about."""

import time

import sqlalchemy as sa
from alembic import op

from registry_node.storage.migrations.columns import NAME

revision = "0004"
down_revision = "0003"

_UNLINKED = """
INSERT INTO unlinked (digest, since) SELECT c.digest, :now FROM {content} c
WHERE NOT EXISTS (SELECT 1 FROM repo_blobs l WHERE l.digest = c.digest)
AND NOT EXISTS (SELECT 1 FROM repo_manifests l WHERE l.digest = c.digest)
ON CONFLICT (digest) DO NOTHING"""
# A layer that is in many images is looked for among those of the repository.
_UNNEEDED = """
INSERT INTO unneeded (repository_id, digest, since) SELECT l.repository_id, l.digest, :now FROM repo_blobs l
WHERE NOT CASE WHEN (SELECT 1 FROM manifest_blobs p WHERE p.digest = l.digest LIMIT 1 OFFSET 100) IS NULL
THEN EXISTS (SELECT 1 FROM manifest_blobs n CROSS JOIN repo_manifests m
  WHERE n.digest = l.digest AND m.repository_id = l.repository_id AND m.digest = n.manifest)
ELSE EXISTS (SELECT 1 FROM repo_manifests m CROSS JOIN manifest_blobs n
  WHERE m.repository_id = l.repository_id AND n.manifest = m.digest AND n.digest = l.digest) END"""


def upgrade() -> None:
    op.create_table(
        "unlinked",
        sa.Column("digest", NAME, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unneeded",
        sa.Column("repository_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", NAME, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    for statement in (_UNLINKED.format(content="blobs"), _UNLINKED.format(content="manifests"), _UNNEEDED):
        op.get_bind().execute(sa.text(statement), {"now": time.time()})  # nobody was asked before: all of it is young
