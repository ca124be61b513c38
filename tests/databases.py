"""The structure of a SQLite file, to compare a schema made at once with one that its history made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


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
