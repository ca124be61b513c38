"""Statements that are built once: building one with SQLAlchemy costs more than running it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, bindparam
from sqlalchemy.dialects.sqlite import Insert, insert


def put(table: Table, *keys: str, change: tuple[str, ...] = ()) -> Insert:
    """An upsert whose values are all parameters. A row that has these keys already gets the new values of
    ``change``; without ``change`` it stays as it is."""
    statement = insert(table)
    if not change:
        return statement.on_conflict_do_nothing(index_elements=list(keys))
    return statement.on_conflict_do_update(
        index_elements=list(keys), set_={name: statement.excluded[name] for name in change}
    )


def is_(column: Any, name: str) -> Any:
    """``column = :name``"""
    return column == bindparam(name)
