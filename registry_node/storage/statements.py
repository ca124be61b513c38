"""Statements that are built once: building one with SQLAlchemy costs more than running it. SQLite and PostgreSQL both
understand them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, TextClause, bindparam, text


def put(table: Table, *keys: str, change: tuple[str, ...] | None = ()) -> TextClause:
    """An upsert whose values are all parameters, one for each column. A row that has these keys already gets the new
    values of ``change`` (None: of all other columns); with an empty one it stays as it is."""
    names = [column.name for column in table.columns]
    changed = [name for name in names if name not in keys] if change is None else change
    then = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changed)}" if changed else "NOTHING"
    values = ", ".join(f":{name}" for name in names)
    return text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) "  # noqa: S608 - names of our own columns
        f"ON CONFLICT ({', '.join(keys)}) DO {then}"
    )


def is_(column: Any, name: str) -> Any:
    """``column = :name``"""
    return column == bindparam(name)
