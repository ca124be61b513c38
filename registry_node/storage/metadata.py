"""The index of a data folder: SQLite in WAL mode behind SQLAlchemy Core. Synchronous: callers hop to a thread.

Every writing transaction starts with BEGIN IMMEDIATE: a plain BEGIN takes the write lock too late and fails under
contention instead of waiting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from registry_node.storage.errors import CannotOpen, DatabaseCorrupt, DatabaseTooNew
from registry_node.storage.schema import HEAD
from registry_node.storage.schema import metadata as tables

BUSY_SECONDS = 30
# A full look at the pages is cheap up to here and keeps the start of a large node quick beyond.
CHECK_BYTES = 64 * 1024 * 1024


class Metadata:
    """One open index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(begin="IMMEDIATE", synchronous="FULL")
        self._quick = engine.execution_options(begin="IMMEDIATE", synchronous="NORMAL")
        self._reader = engine.execution_options(begin="DEFERRED", synchronous="FULL")

    @classmethod
    def open(cls, path: Path) -> Metadata:
        """Raises DatabaseCorrupt, DatabaseTooNew."""
        try:
            version = _inspect(path)
            engine = _engine(path)
            metadata = cls(engine)
            if version is None:
                metadata._create()
            elif version != HEAD:
                metadata._migrate(path, version)
        except (sqlite3.DatabaseError, DBAPIError) as error:
            raise _corrupt(path, str(getattr(error, "orig", None) or error)) from error
        return metadata

    @classmethod
    def join(cls, path: Path) -> Metadata:
        """An index that another process has just opened."""
        return cls(_engine(path))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start. ``durable``: on disk when it returns; otherwise
        a power cut may take it back whole (never in part), a killed process cannot."""
        with (self._writer if durable else self._quick).begin() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with self._reader.begin() as tx:
            yield tx

    def _create(self) -> None:
        """A new index has the newest schema at once: no history to run, and no alembic to load."""
        with self.writing() as tx:
            tables.create_all(tx)
            tx.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            tx.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))

    def _migrate(self, path: Path, version: str) -> None:
        from registry_node.storage import migrations  # noqa: PLC0415 - a start without them must not load alembic

        if not migrations.knows(version):
            raise DatabaseTooNew(
                f"{path}: a newer towpath wrote this index (schema {version}, this one knows up to {HEAD}); "
                "run that version, or restore the folder's backup from before the update"
            )
        with self.writing() as tx:
            migrations.upgrade(tx)


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(f"PRAGMA synchronous={options['synchronous']}")
        connection.exec_driver_sql(f"BEGIN {options['begin']}")

    return engine


def _inspect(path: Path) -> str | None:
    """The schema version, None for a new database. Looks at the pages, so that damage is found now, not later."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        if path.stat().st_size <= CHECK_BYTES:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _corrupt(path, str(found))
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in tables:
            if tables:
                raise _corrupt(path, "it is another program's database")
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else None


def _corrupt(path: Path, why: str) -> CannotOpen:
    return DatabaseCorrupt(
        f"{path}: the index of this node is damaged ({why}). Nothing was changed. Keep a copy of the folder, then "
        f"remove {path.name}, {path.name}-wal and {path.name}-shm and start again: the node builds the index anew "
        "from its journal and its blobs"
    )
