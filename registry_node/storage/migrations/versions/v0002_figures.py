"""Figures that are kept rather than counted; the folder that an index in PostgreSQL belongs to."""

import sqlalchemy as sa
from alembic import op

from registry_node.storage.migrations.columns import NAME, NUMBER

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table("figures", sa.Column("name", NAME, primary_key=True), sa.Column("value", NUMBER, nullable=False))
    op.create_table("data_folder", sa.Column("id", NAME, primary_key=True))
    op.execute(
        "INSERT INTO figures (name, value) SELECT 'used_bytes', coalesce(sum(size), 0) FROM blobs "
        "WHERE digest IN (SELECT digest FROM repo_blobs)"
    )
