"""The tables of a node's index. ``migrations/`` makes them; a test holds the two equal.

A repository's ``rev`` grows with every change of its tags or manifests and is never reused: a number per tag would
start again after a deletion and let an old compare-and-swap pass. Names compare by bytes (SQLite's BINARY,
PostgreSQL's "C").
Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

HEAD = "0002"  # the newest migration: a database that has it needs none

metadata = MetaData()
# Rows lie in the order of their keys: one descent of a tree instead of two.
_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}


# Bytes of a blob and clocks in milliseconds do not fit into PostgreSQL's INTEGER.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")
NAME = Text().with_variant(Text(collation="C"), "postgresql")


def _number(name: str) -> Column[int]:
    return Column(name, NUMBER, nullable=False)


def _text(name: str) -> Column[str]:
    return Column(name, NAME, nullable=False)


def _time(name: str) -> Column[float]:
    return Column(name, Float, nullable=False)


def _key(name: str) -> Column[str]:
    return Column(name, NAME, primary_key=True)


def _repository() -> Column[int]:
    return Column("repository_id", Integer, ForeignKey("repositories.id"), primary_key=True)


repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    _number("rev"),
    _time("created"),
)
blobs = Table(
    "blobs",
    metadata,
    _key("digest"),
    _number("size"),
    _text("state"),  # present | deleting (collection)
    _time("touched_at"),
)
# The right to serve a blob from a repository, or to mount it from there.
repo_blobs = Table("repo_blobs", metadata, _repository(), _key("digest"), _time("linked_at"), **_CLUSTERED)
manifests = Table(
    "manifests",
    metadata,
    _key("digest"),
    Column("body", LargeBinary, nullable=False),
    _number("size"),
    _text("artifact_type"),
    Column("subject", NAME),
    _text("annotations"),  # JSON
    _time("touched_at"),
)
# The media type is the one that this repository was told: two repositories may differ about the same bytes.
repo_manifests = Table(
    "repo_manifests",
    metadata,
    _repository(),
    _key("digest"),
    _text("media_type"),
    _number("size"),
    Column("subject", NAME),
    _time("pushed_at"),
    **_CLUSTERED,
)
manifest_blobs = Table("manifest_blobs", metadata, _key("manifest"), _key("digest"), _number("size"), **_CLUSTERED)
manifest_children = Table("manifest_children", metadata, _key("manifest"), _key("digest"), **_CLUSTERED)
tags = Table(
    "tags",
    metadata,
    _repository(),
    _key("name"),
    _text("digest"),
    _number("rev"),
    _time("pushed_at"),  # at its origin, when replication brought it
    **_CLUSTERED,
)
# Every change, in the order of commits; events and the journal file come from it.
journal = Table(
    "journal",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    _text("repository"),
    _number("rev"),
    _text("kind"),  # tag | manifest | manifest-deleted
    Column("tag", NAME),
    Column("old", NAME),
    Column("digest", NAME),
    Column("media_type", NAME),
    _text("actor"),
    Column("txid", NAME),
    _time("at"),
    Column("pushed_at", Float),
    sqlite_autoincrement=True,
)
# What follows belongs to a name, not to a repository's row: it may come before the repository has any content.
uploads = Table(
    "uploads",
    metadata,
    _key("id"),
    _text("repository"),
    _text("identity"),
    _text("algorithm"),
    _time("started"),
    _time("expires"),
)
leases = Table(
    "leases",
    metadata,
    _key("repository"),
    _text("id"),
    _text("holder"),
    _number("token"),
    _time("expires"),  # 0 once released; the row stays, so that the token grows
)
holds = Table("holds", metadata, _key("repository"), _key("owner"), _time("until"), _text("reason"))
hold_digests = Table("hold_digests", metadata, _key("repository"), _key("owner"), _key("digest"))
transactions = Table(
    "transactions",
    metadata,
    _key("repository"),
    _key("txid"),
    _text("state"),  # landed | aborted
    _text("fingerprint"),  # of what it asks for
    Column("receipt", Text),  # JSON, when landed
    _time("at"),
)
# What would take long to find out: ``used_bytes`` (rules/quota.py).
figures = Table("figures", metadata, _key("name"), _number("value"))
# PostgreSQL: which folder this index speaks of (postgresql.py).
data_folder = Table("data_folder", metadata, _key("id"))
trash = Table("trash", metadata, _key("repository"), _key("tag"), _key("digest"), _time("until"))

Index("ix_repo_blobs_digest", repo_blobs.c.digest)
Index("ix_repo_manifests_digest", repo_manifests.c.digest)
Index("ix_repo_manifests_subject", repo_manifests.c.repository_id, repo_manifests.c.subject)
Index("ix_manifest_blobs_digest", manifest_blobs.c.digest)
Index("ix_manifest_children_digest", manifest_children.c.digest)
Index("ix_tags_digest", tags.c.repository_id, tags.c.digest)
Index("ix_journal_repository", journal.c.repository, journal.c.rev)
Index("ix_uploads_expires", uploads.c.expires)
Index("ix_hold_digests_digest", hold_digests.c.repository, hold_digests.c.digest)
