"""The index in PostgreSQL: the same tables and the same history as in SQLite, over psycopg 3.

Writing transactions follow one another as they do in SQLite: each takes one advisory lock of the database before it
looks at anything (decision 0007). The lock goes with the transaction, also when the process or the connection dies in
the middle, so whoever comes next sees what a dying one has committed.

A broken connection ends the requests that were using it with 503; the next ones get a new connection. What was being
committed may have landed: as after any answer that was lost, the client asks again.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from oci_wire.errors import Unavailable
from registry_node.storage.epochs import Epochs
from registry_node.storage.errors import (
    CannotOpen,
    DatabaseCorrupt,
    DatabaseElsewhere,
    DatabaseUnreachable,
    Health,
    of_database,
)
from registry_node.storage.files import BlobFiles, append, sync_folder
from registry_node.storage.metadata import Metadata
from registry_node.storage.reads import Reads
from registry_node.storage.remembered import Remembered
from registry_node.storage.schema import HEAD, TABLES
from registry_node.storage.sql import Connection, Rows, Values

# Of a connection, unless the DSN says otherwise: seconds, milliseconds, and the primary alone.
_OURS: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",
    "application_name": "towpath",
}
_RETRY_SECONDS = 0.2
_TURN = 0x746F7770617468  # "towpath": the advisory lock of writers
_SETTINGS = "SET lock_timeout = '30s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'"
_NAME = re.compile(r":(\w+)")
_NONE: Values = {}
_LOOK = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


def open_index(dsn: str, folder: Path) -> Metadata:
    """Brings the index up to date. Raises DatabaseUnreachable, DatabaseTooNew, DatabaseElsewhere, DatabaseCorrupt."""
    where = _where(dsn)
    metadata = join_index(dsn)
    try:
        with metadata.reading() as tx:
            version = _inspect(tx, where)
        if version != HEAD:
            metadata.migrate(where, version)
        with metadata.writing() as tx:
            _belong_together(tx, folder, where)
    except psycopg.Error as error:
        metadata.close()
        raise DatabaseUnreachable(
            f"{where}: the index cannot be used: {_first_line(error)}; check that PostgreSQL runs, and the DSN"
        ) from error
    except CannotOpen:
        metadata.close()
        raise
    return metadata


def join_index(dsn: str) -> Metadata:
    """An index that another process has just opened."""
    return Metadata(partial(PostgresqlConnection.to, dsn))


class PostgresqlConnection(Connection):
    """The same statements, which psycopg prepares when they come again."""

    dialect: ClassVar[str] = "postgresql+psycopg"
    _streams = count()

    @classmethod
    def to(cls, dsn: str) -> PostgresqlConnection:
        return cls(_connected(dsn))

    def execute(self, statement: str, values: Values = _NONE) -> Rows:
        return Rows(self.driver.execute(_with_names(statement), values))

    def names(self, statement: str, values: Values = _NONE) -> list[str]:
        return self.execute(statement, values).scalars()

    def execute_each(self, statement: str, rows: Sequence[Values]) -> None:
        with self.driver.cursor() as cursor:
            cursor.executemany(_with_names(statement), rows)

    def stream(self, statement: str, values: Values = _NONE) -> Iterator[Any]:
        with self.driver.cursor(name=f"towpath_{next(self._streams)}") as cursor:
            cursor.itersize = 1000
            cursor.execute(_with_names(statement), values)
            yield from Rows(cursor)

    def begin(self, *, writes: bool, durable: bool) -> None:
        quick = "" if durable else "SET LOCAL synchronous_commit = off; "
        self.driver.execute(quick + _lock_of_writers() if writes else _LOOK)

    @property
    def broken(self) -> bool:
        return bool(self.driver.broken or self.driver.closed)


class PostgresqlReads(Reads):
    """The hot reads over one connection of their own, with prepared statements, on the caller's thread.

    A server that is away is not waited for: questions are refused until a thread has connected again."""

    def __init__(self, dsn: str, health: Health, files: BlobFiles, epochs: Epochs) -> None:
        self._health, self.files, self._dsn = health, files, dsn
        self._remembered = Remembered(epochs, self._row)
        self._lock = threading.Lock()
        self._closed = False
        self._db: psycopg.Connection[Any] | None = None
        try:
            self._connect_again()
        except psycopg.Error:
            self._connect_later()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._db is not None:
                self._db.close()

    def _rows(self, question: str, values: tuple[Any, ...]) -> list[Any]:
        db = self._db
        if db is None:
            raise _away()
        try:
            return db.execute(_translated(question), values, prepare=True).fetchall()
        except psycopg.Error as error:
            if db.broken or db.closed:
                self._lost(db)
            raise of_database(self._health, "the index", error) from error

    def _lost(self, db: psycopg.Connection[Any]) -> None:
        self._db = None
        self._remembered.forget()  # whoever answers next may have lost what this one had committed
        db.close()
        self._connect_later()

    def _connect_later(self) -> None:
        threading.Thread(target=self._reconnect, name="towpath-reconnect", daemon=True).start()

    def _reconnect(self) -> None:
        while not self._closed:
            try:
                return self._connect_again()
            except psycopg.Error:
                time.sleep(_RETRY_SECONDS)
        return None

    def _connect_again(self) -> None:
        db = _connected(self._dsn, autocommit=True)
        db.prepare_threshold = 0
        with self._lock:
            if self._closed:
                db.close()
            self._db = db


@lru_cache(1024)
def _with_names(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement)


@lru_cache(64)
def _translated(question: str) -> str:
    return question.replace("?", "%s")


def _lock_of_writers() -> str:
    return f"SELECT pg_advisory_xact_lock({_TURN})"


def _connected(dsn: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """To the primary, and never waiting for ever."""
    connection = psycopg.connect(make_conninfo("", **{**_OURS, **conninfo_to_dict(dsn)}), autocommit=True)
    connection.execute(_SETTINGS)
    connection.autocommit = autocommit
    return connection


def _inspect(tx: Connection, where: str) -> str | None:
    """The schema version, None for a new database. Raises DatabaseCorrupt."""
    encoding = tx.execute("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise DatabaseCorrupt(f"{where}: the database has the encoding {encoding}; make one with UTF8")
    there = set(tx.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").scalars())
    if "alembic_version" in there:
        return str(tx.execute("SELECT version_num FROM alembic_version").scalar())
    if taken := there & TABLES:
        raise DatabaseCorrupt(
            f"{where}: another program has a table called {min(taken)} there; give the node a database of its own"
        )
    return None


def _belong_together(tx: Connection, folder: Path, where: str) -> None:
    """Index and folder name each other: an index over another folder would promise blobs that are not there."""
    mark = folder / "index-id"
    if not mark.exists():
        append(mark, uuid4().hex.encode())
        sync_folder(folder)
    mine = mark.read_text()
    found = tx.execute("SELECT id FROM data_folder").scalar()
    if found is None:
        tx.execute("INSERT INTO data_folder (id) VALUES (:id)", {"id": mine})
    elif found != mine:
        raise DatabaseElsewhere(
            f"{where}: this index belongs to another data folder than {folder}; give each node a database of its own"
        )


def _where(dsn: str) -> str:
    """For messages: never the password. Raises DatabaseUnreachable for a DSN that is none."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error:
        raise DatabaseUnreachable(
            "the DSN of the index cannot be read; write it like postgresql://user:secret@host/database"
        ) from None
    return f"PostgreSQL database {given.get('dbname', '')!r} at {given.get('host', 'the local socket')}"


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]


def _away() -> Unavailable:
    return Unavailable("the index of this node is away; try again", retry_after=1.0)
