"""What a mirror knows of its copies."""

import sqlalchemy as sa
from alembic import op

from registry_node.storage.migrations.columns import NAME

revision = "0003"
down_revision = "0002"


def _key(name: str) -> "sa.Column[str]":
    return sa.Column(name, NAME, primary_key=True)


def upgrade() -> None:
    op.create_table(
        "cached_tags",
        _key("repository"),
        _key("tag"),
        sa.Column("upstream", NAME, nullable=False),
        sa.Column("checked_at", sa.Float, nullable=False),
        sa.Column("gone_at", sa.Float),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cached_manifests",
        _key("repository"),
        _key("digest"),
        sa.Column("upstream", NAME, nullable=False),
        sa.Column("cached_at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cached_uses", _key("digest"), sa.Column("used_at", sa.Float, nullable=False), sqlite_with_rowid=False
    )
