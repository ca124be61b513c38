"""The engine's SQL database: SQLite beside the engine, brought to the newest revision when it is opened."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import DatabaseError, IntegrityError

from promotions.schema import METADATA, TooNew

HEAD = "0002"  # the newest revision; a test compares it with the history
BUSY_MILLISECONDS = 30_000


class DatabaseUnusable(Exception):
    """The database cannot be used; the message says which file, why, and what to do."""


def open_database(path: Path) -> Engine:
    """The database in this file, made or migrated. Raises DatabaseUnusable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_MILLISECONDS / 1000})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        with _one_at_a_time(path), unusable_named(engine), writing(engine) as connection:
            _migrate(connection)
    except DatabaseUnusable:
        engine.dispose()
        raise
    return engine


@contextmanager
def unusable_named(engine: Engine) -> Iterator[None]:
    """What SQLite says of a damaged file or a full disk, in words, with the file. Raises DatabaseUnusable."""
    try:
        yield
    except (DatabaseError, TooNew) as error:
        if isinstance(error, IntegrityError):
            raise
        reason = str(getattr(error, "orig", None) or error)
        raise DatabaseUnusable(f"{engine.url.database} cannot be used: {reason}; {_remedy(reason)}") from None


def _remedy(reason: str) -> str:
    if "full" in reason or "disk I/O" in reason:
        return "free space on its disk, then run the same command again: it goes on from here"
    return "restore it from a backup, or move it away to start with an empty one (the ledger keeps what was promoted)"


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writing transaction: BEGIN IMMEDIATE, so that it waits for its turn instead of failing in the middle."""
    with engine.connect().execution_options(towpath_write=True) as connection, connection.begin():
        yield connection


def _migrate(connection: Connection) -> None:
    """Nothing to do is the usual case, and must not cost the import of alembic; nor must a new database."""
    revision = _revision(connection)
    if revision == HEAD:
        return
    if revision is None:
        _create(connection)
        return
    from promotions import migrations  # noqa: PLC0415 - a start without them must not load alembic

    migrations.upgrade(connection)


def _create(connection: Connection) -> None:
    """The newest schema at once. Raises DatabaseError when another program's tables are there."""
    METADATA.create_all(connection, checkfirst=False)
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(raw: Any, _: Any) -> None:
    raw.isolation_level = None  # BEGIN is ours
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    wanted = connection.get_execution_options().get("towpath_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if wanted else "BEGIN")
