"""The engine's SQL database: SQLite beside the engine, brought to the newest revision when it is opened."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

MIGRATIONS = Path(__file__).parent / "migrations"
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
        with _one_at_a_time(path), writing(engine) as connection:
            _migrate(connection)
    except (DatabaseError, CommandError) as error:
        engine.dispose()
        reason = str(getattr(error, "orig", None) or error)
        raise DatabaseUnusable(
            f"{path} cannot be used: {reason}; restore it from a backup, or move it away to start with an empty one "
            "(the ledger keeps what was promoted)"
        ) from None
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writing transaction: BEGIN IMMEDIATE, so that it waits for its turn instead of failing in the middle."""
    with engine.connect().execution_options(towpath_write=True) as connection, connection.begin():
        yield connection


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
