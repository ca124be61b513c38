"""The structure of a SQLite file, to compare a schema made at once with one that its history made; what an index is
asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from registry_node.storage.metadata import Metadata
from registry_node.storage.sql import Connection, Rows, Values


def structure(path: Path) -> dict[str, Any]:
    """Per table: whether it has row ids, its columns, foreign keys and indexes."""
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'").fetchall()
        return {
            name: (
                without_rowid,
                db.execute(f"PRAGMA table_info({name})").fetchall(),
                sorted(db.execute(f"PRAGMA foreign_key_list({name})").fetchall()),
                sorted(
                    (db.execute(f"PRAGMA index_xinfo({index})").fetchall(), unique, origin, partial)
                    for _, index, unique, origin, partial in db.execute(f"PRAGMA index_list({name})").fetchall()
                ),
            )
            for name, without_rowid in tables
        }


@contextmanager
def statements() -> Iterator[list[str]]:
    """What the index (SQLite) is asked meanwhile. The hot reads (reads.py) do not count."""
    asked: list[str] = []
    execute = Connection.execute

    def noted(tx: Connection, statement: str, values: Values | None = None) -> Rows:
        asked.append(statement)
        return execute(tx, statement, values or {})

    with patch.object(Connection, "execute", noted):
        yield asked


def limit_pages(metadata: Metadata, pages: int) -> Callable[[], None]:
    """A disk that is full beyond so many pages: SQLite's own limit, which each connection has for itself. Gives what
    ends that."""
    connect = metadata._connect

    def limited() -> Connection:
        connection = connect()
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    def change(to: Callable[[], Connection]) -> None:
        metadata.close()  # whatever is open has the other limit
        metadata._connect = to

    change(limited)
    return lambda: change(connect)
