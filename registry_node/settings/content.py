"""What a node takes, how much of it, and where its index lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from identity.grants import WritePolicy
from registry_node.settings.shape import Strict

MIB = 1024 * 1024


class Rules(Strict):
    """What a write must satisfy. Stateless ones are views over the port, the others run in the writing transaction."""

    write: WritePolicy = Field(default=WritePolicy.OPEN, description="Who may write at all; grants narrow it.")
    repository_name: str | None = Field(
        default=None, description="A regular expression that the whole name of a repository matches."
    )
    tag_name: str | None = Field(default=None, description="A regular expression that a whole tag matches.")
    require_labels: tuple[str, ...] = Field(default=(), description="Labels that every image's configuration has.")
    immutable_tags: tuple[str, ...] = Field(
        default=(), description="Globs of tags that neither move nor go; their digest cannot be deleted either."
    )
    quota_bytes: int | None = Field(default=None, gt=0, description="Most bytes of content in all; none: no limit.")
    sparse_images: bool = Field(default=False, description="Whether an image may lack some of its blobs.")
    sparse_indexes: bool = Field(
        default=True, description="Whether an index may come before, or without, some of its manifests."
    )


class Limits(Strict):
    manifest_bytes: int = Field(default=4 * MIB, description="Bytes of the largest manifest that is taken.")
    upload_session_seconds: int = Field(
        default=24 * 3600, ge=60, description="An upload session ends when nothing came for so long."
    )
    drain_seconds: float = Field(default=10.0, ge=0, description="On SIGTERM, how long requests may go on.")
    header_bytes: int = Field(default=64 * 1024, ge=1024, description="Bytes of the largest request head.")
    head_seconds: float = Field(default=15.0, gt=0, description="From the first byte of a request head to its end.")
    idle_seconds: float = Field(default=75.0, gt=0, description="A kept connection without a request ends then.")
    body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Each time so many seconds are over, `body_bytes` of a request's body must have "
        "come; a slower sender gets 408 REQUEST_INVALID, and an upload session keeps what came.",
    )
    body_bytes: int = Field(default=16 * 1024, ge=1, description="See `body_seconds`.")
    answer_seconds: float = Field(
        default=300.0, gt=0, description="A client that takes nothing of its answer for so long is cut off."
    )
    upload_threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Threads that take large bodies, in each process. Uploads beyond them wait "
        "for their turn, which comes often: a sender that pauses holds none.",
    )
    download_threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Threads that encrypt large blobs (TLS), in each process. Others wait for their turn; a slow reader "
        "holds none.",
    )
    history_changes: int = Field(
        default=1_000_000,
        ge=1,
        description="So many of the newest changes are kept, for events and for the journal, and up to a quarter more. "
        "Of older ones the journal keeps what they led to.",
    )
    receipt_days: float = Field(default=30.0, ge=1, description="Receipts of tag transactions are kept for so long.")
    upload_sessions: int = Field(default=5000, ge=1, description="Upload sessions open at once, for one identity.")


class Postgresql(Strict):
    """Where the DSN of an index in PostgreSQL is to be found: it holds a secret, so it never stands here."""

    dsn_file: Path | None = Field(
        default=None, description="A file with the DSN of the index in PostgreSQL (postgresql://user:secret@host/name)."
    )
    dsn_env: str | None = Field(default=None, min_length=1, description="The environment variable with that DSN.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.dsn_file is None) == (self.dsn_env is None):
            raise ValueError("the DSN of the index stands either in dsn_file or in dsn_env")
        return self


class Index(Strict):
    """Where the index lies: in the data folder (SQLite), unless something else is declared."""

    postgresql: Postgresql | None = Field(
        default=None, description="Keep the index in PostgreSQL; blobs and the journal stay in the data folder."
    )

    def dsn(self) -> str | None:
        """None for SQLite. Raises ValueError without the secret."""
        if self.postgresql is None:
            return None
        if self.postgresql.dsn_env is not None:
            found = os.environ.get(self.postgresql.dsn_env, "").strip()
            where = f"the environment variable {self.postgresql.dsn_env}"
        else:
            assert self.postgresql.dsn_file is not None
            where = str(self.postgresql.dsn_file)
            try:
                found = self.postgresql.dsn_file.read_text().strip()
            except OSError as error:
                raise ValueError(f"index.postgresql.dsn_file: {where} cannot be read: {error.strerror}") from None
        if not found:
            raise ValueError(
                f"index.postgresql: {where} holds no DSN; write one like postgresql://user:secret@host/name"
            )
        return found
