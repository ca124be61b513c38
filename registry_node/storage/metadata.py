"""The index of a data folder: SQLite in WAL mode, or PostgreSQL (postgresql.py). Synchronous: callers hop to a thread."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from registry_node.storage.errors import CannotOpen, DatabaseCorrupt, DatabaseTooNew
from registry_node.storage.schema import HEAD, STATEMENTS
from registry_node.storage.sql import Connection

BUSY_SECONDS = 30
# The write-ahead log grows while somebody reads an old state; afterwards it gets back to this.
WAL_BYTES = 64 * 1024 * 1024
CHECKPOINT_PAGES = 1000
# A full look at the pages is cheap up to here and keeps the start of a large node quick beyond.
CHECK_BYTES = 64 * 1024 * 1024


class Metadata:
    """One open index, with a connection for each thread that asks at the same time."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: deque[Connection] = deque()

    @classmethod
    def open(cls, path: Path) -> Metadata:
        """Raises DatabaseCorrupt, DatabaseTooNew."""
        try:
            version = _inspect(path)
            metadata = cls.join(path)
            if version is None:
                metadata._create()
            elif version != HEAD:
                metadata.migrate(str(path), version)
        except sqlite3.DatabaseError as error:
            raise _corrupt(path, str(error)) from error
        return metadata

    @classmethod
    def join(cls, path: Path) -> Metadata:
        """An index that another process has just opened."""
        return cls(partial(_connected, path))

    def close(self) -> None:
        while (idle := self._taken()) is not None:
            idle.close()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that holds the write lock from its start. ``durable``: on disk when it returns; otherwise
        a power cut may take it back whole (never in part), a killed process cannot."""
        with self._transaction(writes=True, durable=durable) as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with self._transaction(writes=False, durable=True) as tx:
            yield tx

    @contextmanager
    def _transaction(self, *, writes: bool, durable: bool) -> Iterator[Connection]:
        tx = self._begun(writes, durable)
        try:
            yield tx
            tx.commit()
        except BaseException:
            self._undo(tx)
            raise
        self._idle.append(tx)

    def _begun(self, writes: bool, durable: bool) -> Connection:
        """A connection that broke while nobody used it is found out here, where nothing is lost by it."""
        while True:
            known = self._taken()
            tx = known or self._connect()
            try:
                tx.begin(writes=writes, durable=durable)
                return tx
            except BaseException:
                self._undo(tx)
                if known is None or not known.broken:
                    raise

    def _undo(self, tx: Connection) -> None:
        """Gives back a connection whose transaction came to nothing."""
        with suppress(Exception):  # what is broken was rolled back by that
            tx.rollback()
            if not tx.broken:
                self._idle.append(tx)
                return
        with suppress(Exception):
            tx.close()

    def _taken(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _create(self) -> None:
        with self.writing() as tx:
            for statement in STATEMENTS:
                tx.execute(statement)
            tx.execute("INSERT INTO alembic_version VALUES (:head)", {"head": HEAD})

    def migrate(self, where: str, version: str | None) -> None:
        """``version``: of the schema that is there, None for none. Raises DatabaseTooNew."""
        from registry_node.storage import migrations  # noqa: PLC0415 - alembic and SQLAlchemy, for this alone

        if version is not None and not migrations.knows(version):
            raise DatabaseTooNew(
                f"{where}: a newer towpath wrote this index (schema {version}, this one knows up to {HEAD}); "
                "run that version, or restore the folder's backup from before the update"
            )
        with self.writing() as tx:
            migrations.upgrade(tx)


def _connected(path: Path) -> Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
    pragmas = ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}")
    for pragma in (*pragmas, f"journal_size_limit={WAL_BYTES}", f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
        connection.execute(f"PRAGMA {pragma}")
    return Connection(connection)


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
