"""The first schema."""

import sqlalchemy as sa
from alembic import op

from registry_node.storage.migrations.columns import NAME, NUMBER

revision = "0001"
down_revision = None


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, NAME, nullable=False)


def _time(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Float, nullable=False)


def _number(name: str) -> "sa.Column[int]":
    return sa.Column(name, NUMBER, nullable=False)


def _key(name: str) -> "sa.Column[str]":
    return sa.Column(name, NAME, primary_key=True)


def _repository() -> "sa.Column[int]":
    return sa.Column("repository_id", sa.Integer, sa.ForeignKey("repositories.id"), primary_key=True)


def upgrade() -> None:
    _content()
    _changes()
    _coordination()


def _content() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", NAME, nullable=False, unique=True),
        _number("rev"),
        _time("created"),
    )
    op.create_table("blobs", _key("digest"), _number("size"), _text("state"), _time("touched_at"))
    op.create_table("repo_blobs", _repository(), _key("digest"), _time("linked_at"), sqlite_with_rowid=False)
    op.create_index("ix_repo_blobs_digest", "repo_blobs", ["digest"])
    op.create_table(
        "manifests",
        _key("digest"),
        sa.Column("body", sa.LargeBinary, nullable=False),
        _number("size"),
        _text("artifact_type"),
        sa.Column("subject", NAME),
        _text("annotations"),
        _time("touched_at"),
    )
    op.create_table(
        "repo_manifests",
        _repository(),
        _key("digest"),
        _text("media_type"),
        _number("size"),
        sa.Column("subject", NAME),
        _time("pushed_at"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_repo_manifests_digest", "repo_manifests", ["digest"])
    op.create_index("ix_repo_manifests_subject", "repo_manifests", ["repository_id", "subject"])
    op.create_table("manifest_blobs", _key("manifest"), _key("digest"), _number("size"), sqlite_with_rowid=False)
    op.create_index("ix_manifest_blobs_digest", "manifest_blobs", ["digest"])
    op.create_table("manifest_children", _key("manifest"), _key("digest"), sqlite_with_rowid=False)
    op.create_index("ix_manifest_children_digest", "manifest_children", ["digest"])


def _changes() -> None:
    op.create_table(
        "tags",
        _repository(),
        _key("name"),
        _text("digest"),
        _number("rev"),
        _time("pushed_at"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_digest", "tags", ["repository_id", "digest"])
    op.create_table(
        "journal",
        sa.Column("position", NUMBER, primary_key=True, autoincrement=True),
        _text("repository"),
        _number("rev"),
        _text("kind"),
        sa.Column("tag", NAME),
        sa.Column("old", NAME),
        sa.Column("digest", NAME),
        sa.Column("media_type", NAME),
        _text("actor"),
        sa.Column("txid", NAME),
        _time("at"),
        sa.Column("pushed_at", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_repository", "journal", ["repository", "rev"])


def _coordination() -> None:
    op.create_table(
        "uploads",
        _key("id"),
        _text("repository"),
        _text("identity"),
        _text("algorithm"),
        _time("started"),
        _time("expires"),
    )
    op.create_index("ix_uploads_expires", "uploads", ["expires"])
    op.create_table("leases", _key("repository"), _text("id"), _text("holder"), _number("token"), _time("expires"))
    op.create_table("holds", _key("repository"), _key("owner"), _time("until"), _text("reason"))
    op.create_table("hold_digests", _key("repository"), _key("owner"), _key("digest"))
    op.create_index("ix_hold_digests_digest", "hold_digests", ["repository", "digest"])
    op.create_table(
        "transactions",
        _key("repository"),
        _key("txid"),
        _text("state"),
        _text("fingerprint"),
        sa.Column("receipt", sa.Text),
        _time("at"),
    )
    op.create_table("trash", _key("repository"), _key("tag"), _key("digest"), _time("until"))
