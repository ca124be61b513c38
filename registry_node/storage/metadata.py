"""The index of a data folder, behind SQLAlchemy Core: SQLite in WAL mode, or PostgreSQL (postgresql.py). Synchronous:
callers hop to a thread.

Every writing transaction starts with BEGIN IMMEDIATE: a plain BEGIN takes the write lock too late and fails under
contention instead of waiting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from registry_node.storage.errors import CannotOpen, DatabaseCorrupt, DatabaseTooNew
from registry_node.storage.schema import HEAD
from registry_node.storage.schema import metadata as tables

BUSY_SECONDS = 30
# The write-ahead log grows while somebody reads an old state; afterwards it gets back to this.
WAL_BYTES = 64 * 1024 * 1024
CHECKPOINT_PAGES = 1000
# A full look at the pages is cheap up to here and keeps the start of a large node quick beyond.
CHECK_BYTES = 64 * 1024 * 1024


class Metadata:
    """One open index. The engine makes the options ``writes`` and ``durable`` true when a transaction begins."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writes=True, durable=True)
        self._quick = engine.execution_options(writes=True, durable=False)
        self._reader = engine.execution_options(writes=False, durable=True)

    @classmethod
    def open(cls, path: Path) -> Metadata:
        """Raises DatabaseCorrupt, DatabaseTooNew."""
        try:
            version = _inspect(path)
            engine = _engine(path)
            metadata = cls(engine)
            metadata.bring_up_to_date(str(path), version)
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

    def bring_up_to_date(self, where: str, version: str | None) -> None:
        """``version``: of the schema that is there, None for none. Raises DatabaseTooNew."""
        if version is None:
            self._create()
        elif version != HEAD:
            self._migrate(where, version)

    def _create(self) -> None:
        """A new index has the newest schema at once: no history to run, and no alembic to load."""
        with self.writing() as tx:
            tables.create_all(tx)
            tx.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            tx.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": HEAD})

    def _migrate(self, where: str, version: str) -> None:
        from registry_node.storage import migrations  # noqa: PLC0415 - a start without them must not load alembic

        if not migrations.knows(version):
            raise DatabaseTooNew(
                f"{where}: a newer towpath wrote this index (schema {version}, this one knows up to {HEAD}); "
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
        pragmas = ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}")
        for pragma in (*pragmas, f"journal_size_limit={WAL_BYTES}", f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options['durable'] else 'NORMAL'}")
        connection.exec_driver_sql(f"BEGIN {'IMMEDIATE' if options['writes'] else 'DEFERRED'}")

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
