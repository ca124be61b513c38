"""The tables of a node's index, as SQLite makes them. ``migrations/`` makes the same, there and in PostgreSQL; tests
hold the two equal. A new index gets them at once: no history to run, nothing to load for it.

A repository's ``rev`` grows with every change of its tags or manifests and is never reused: a number per tag would
start again after a deletion and let an old compare-and-swap pass. Names compare by bytes (SQLite's BINARY,
PostgreSQL's "C"). Rows lie in the order of their keys (WITHOUT ROWID): one descent of a tree instead of two.
Times are seconds since the epoch.
"""

from __future__ import annotations

import re

HEAD = "0005"  # the newest migration: a database that has it needs none

_CONTENT = """
CREATE TABLE repositories (
  id INTEGER NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL, created FLOAT NOT NULL,
  PRIMARY KEY (id), UNIQUE (name));
-- state: present | deleting (collection)
CREATE TABLE blobs (
  digest TEXT NOT NULL, size INTEGER NOT NULL, state TEXT NOT NULL, touched_at FLOAT NOT NULL, PRIMARY KEY (digest));
-- The right to serve a blob from a repository, or to mount it from there. giver: the upstream that all of its bytes came
-- from, at a mirror and where it is known
CREATE TABLE repo_blobs (
  repository_id INTEGER NOT NULL, digest TEXT NOT NULL, linked_at FLOAT NOT NULL, giver TEXT,
  PRIMARY KEY (repository_id, digest), FOREIGN KEY(repository_id) REFERENCES repositories (id)) WITHOUT ROWID;
CREATE INDEX ix_repo_blobs_digest ON repo_blobs (digest);
-- annotations: JSON
CREATE TABLE manifests (
  digest TEXT NOT NULL, body BLOB NOT NULL, size INTEGER NOT NULL, artifact_type TEXT NOT NULL, subject TEXT,
  annotations TEXT NOT NULL, touched_at FLOAT NOT NULL, PRIMARY KEY (digest));
-- The media type is the one that this repository was told: two repositories may differ about the same bytes.
CREATE TABLE repo_manifests (
  repository_id INTEGER NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, subject TEXT,
  pushed_at FLOAT NOT NULL,
  PRIMARY KEY (repository_id, digest), FOREIGN KEY(repository_id) REFERENCES repositories (id)) WITHOUT ROWID;
CREATE INDEX ix_repo_manifests_digest ON repo_manifests (digest);
CREATE INDEX ix_repo_manifests_subject ON repo_manifests (repository_id, subject);
CREATE TABLE manifest_blobs (
  manifest TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (manifest, digest)) WITHOUT ROWID;
CREATE INDEX ix_manifest_blobs_digest ON manifest_blobs (digest);
CREATE TABLE manifest_children (
  manifest TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (manifest, digest)) WITHOUT ROWID;
CREATE INDEX ix_manifest_children_digest ON manifest_children (digest);
"""
_CHANGES = """
-- pushed_at: at its origin, when replication brought it
CREATE TABLE tags (
  repository_id INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, rev INTEGER NOT NULL,
  pushed_at FLOAT NOT NULL,
  PRIMARY KEY (repository_id, name), FOREIGN KEY(repository_id) REFERENCES repositories (id)) WITHOUT ROWID;
CREATE INDEX ix_tags_digest ON tags (repository_id, digest);
-- Every change, in the order of commits; events and the journal file come from it.
-- kind: tag | manifest | manifest-deleted
CREATE TABLE journal (
  position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, rev INTEGER NOT NULL,
  kind TEXT NOT NULL, tag TEXT, old TEXT, digest TEXT, media_type TEXT, actor TEXT NOT NULL, txid TEXT,
  at FLOAT NOT NULL, pushed_at FLOAT);
CREATE INDEX ix_journal_repository ON journal (repository, rev);
"""
_COORDINATION = """
-- What follows belongs to a name, not to a repository's row: it may come before the repository has any content.
CREATE TABLE uploads (
  id TEXT NOT NULL, repository TEXT NOT NULL, identity TEXT NOT NULL, algorithm TEXT NOT NULL, started FLOAT NOT NULL,
  expires FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_uploads_expires ON uploads (expires);
-- expires: 0 once released; the row stays, so that the token grows
CREATE TABLE leases (
  repository TEXT NOT NULL, id TEXT NOT NULL, holder TEXT NOT NULL, token INTEGER NOT NULL, expires FLOAT NOT NULL,
  PRIMARY KEY (repository));
CREATE TABLE holds (
  repository TEXT NOT NULL, owner TEXT NOT NULL, until FLOAT NOT NULL, reason TEXT NOT NULL,
  PRIMARY KEY (repository, owner));
CREATE TABLE hold_digests (
  repository TEXT NOT NULL, owner TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, owner, digest));
CREATE INDEX ix_hold_digests_digest ON hold_digests (repository, digest);
-- state: landed | aborted; fingerprint: of what it asks for; receipt: JSON, when landed
CREATE TABLE transactions (
  repository TEXT NOT NULL, txid TEXT NOT NULL, state TEXT NOT NULL, fingerprint TEXT NOT NULL, receipt TEXT,
  at FLOAT NOT NULL, PRIMARY KEY (repository, txid));
CREATE TABLE trash (
  repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, until FLOAT NOT NULL,
  PRIMARY KEY (repository, tag, digest));
-- What would take long to find out: used_bytes (rules/quota.py).
CREATE TABLE figures (name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name));
-- PostgreSQL: which folder this index speaks of (postgresql.py).
CREATE TABLE data_folder (id TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
"""
_GARBAGE = """
-- What nobody needs (garbage.py): content that no repository has, blobs of a repository that no manifest there names.
CREATE TABLE unlinked (digest TEXT NOT NULL, since FLOAT NOT NULL, PRIMARY KEY (digest)) WITHOUT ROWID;
CREATE TABLE unneeded (
  repository_id INTEGER NOT NULL, digest TEXT NOT NULL, since FLOAT NOT NULL,
  PRIMARY KEY (repository_id, digest)) WITHOUT ROWID;
"""
_MIRROR = """
-- What a mirror knows of its copies. gone_at: when the upstream said that it is not there any more
CREATE TABLE cached_tags (
  repository TEXT NOT NULL, tag TEXT NOT NULL, upstream TEXT NOT NULL, checked_at FLOAT NOT NULL, gone_at FLOAT,
  PRIMARY KEY (repository, tag)) WITHOUT ROWID;
CREATE TABLE cached_manifests (
  repository TEXT NOT NULL, digest TEXT NOT NULL, upstream TEXT NOT NULL, cached_at FLOAT NOT NULL,
  PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE TABLE cached_uses (digest TEXT NOT NULL, used_at FLOAT NOT NULL, PRIMARY KEY (digest)) WITHOUT ROWID;
"""
STATEMENTS = tuple(
    statement.strip()
    for statement in (_CONTENT + _CHANGES + _COORDINATION + _GARBAGE + _MIRROR).split(";\n")
    if statement.strip()
)
TABLES = frozenset(re.findall(r"CREATE TABLE (\w+)", "".join(STATEMENTS)))
