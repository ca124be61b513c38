"""Promotions, event positions, clock and replication state."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _promotions()
    _replication()
    op.create_table(
        "clock",
        sa.Column("job", sa.String(200), primary_key=True),
        sa.Column("last_run", sa.Float),
        sa.Column("next_run", sa.Float, nullable=False),
        sa.Column("outcome", sa.Text),
    )


def _promotions() -> None:
    op.create_table(
        "promotions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("request_key", sa.String(64), nullable=False),
        sa.Column("live_key", sa.String(64), unique=True),
        sa.Column("edge", sa.String(200), nullable=False),
        sa.Column("repository", sa.String(255), nullable=False),
        sa.Column("reference", sa.String(300), nullable=False),
        sa.Column("digest", sa.String(140), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("intent", sa.String(40), nullable=False),
        sa.Column("requester", sa.String(200), nullable=False),
        sa.Column("how", sa.String(40), nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("state_at", sa.Float, nullable=False),
        sa.Column("resume", sa.String(20)),
        sa.Column("expected", sa.JSON),
        sa.Column("binding", sa.String(64)),
        sa.Column("verdicts", sa.JSON),
        sa.Column("evidence", sa.LargeBinary),
        sa.Column("evidence_manifest", sa.LargeBinary),
        sa.Column("receipt", sa.JSON),
        sa.Column("code", sa.String(60)),
        sa.Column("reasons", sa.JSON),
        sa.Column("remedy", sa.Text),
    )
    op.create_index("promotions_by_request", "promotions", ["request_key", "state"])
    op.create_index("promotions_by_repository", "promotions", ["edge", "repository", "state"])


def _replication() -> None:
    op.create_table(
        "positions",
        sa.Column("replication", sa.String(200), primary_key=True),
        sa.Column("node", sa.String(63), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_table(
        "replicated",
        sa.Column("replication", sa.String(200), primary_key=True),
        sa.Column("target", sa.String(63), primary_key=True),
        sa.Column("repository", sa.String(255), primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("lag", sa.Float),
        sa.Column("problem", sa.Text),
    )
    op.create_table(
        "outbox",
        sa.Column("txid", sa.String(100), primary_key=True),
        sa.Column("replication", sa.String(200), nullable=False),
        sa.Column("target", sa.String(63), nullable=False),
        sa.Column("repository", sa.String(255), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )


def downgrade() -> None:
    for table in ("outbox", "replicated", "clock", "positions", "promotions"):
        op.drop_table(table)
