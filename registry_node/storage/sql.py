"""One open connection of a driver, and what comes of a question: all that the storage room knows of databases.

Statements are one text that SQLite and PostgreSQL both understand, values are named (``:name``). SQLAlchemy is loaded
for old schemas alone (migrations/): it took half of a node's start, a quarter of its memory and most of the time of
small statements (decision 0010).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

Values = Mapping[str, Any]
_NONE: Values = {}


class Rows:
    """What a statement gives; it is read once. Rows are tuples whose columns have names."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __iter__(self) -> Iterator[Any]:
        return map(_shape_of(self._cursor)._make, self._cursor)

    def first(self) -> Any:
        """The first row, or None."""
        row = self._cursor.fetchone()
        return None if row is None else _shape_of(self._cursor)._make(row)

    def scalar(self) -> Any:
        """The first row's first column, or None."""
        row = self._cursor.fetchone()
        return None if row is None else row[0]

    def scalars(self) -> list[Any]:
        """Each row's first column."""
        return [row[0] for row in self._cursor.fetchall()]


class Connection:
    """Of SQLite; postgresql.py has the other one. Used by one thread at a time. Raises the driver's errors, which
    ``in_port_words`` (errors.py) puts into the port's."""

    dialect: ClassVar[str] = "sqlite"  # as SQLAlchemy calls it (migrations/)

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def execute(self, statement: str, values: Values = _NONE) -> Rows:
        return Rows(self.driver.execute(statement, values))

    def names(self, statement: str, values: Values = _NONE) -> list[str]:
        """The column ``name`` of all rows, in their order: tags or repositories, which have no comma. As one answer:
        sqlite3 lets go of the GIL for each row, which makes many of them three times as slow."""
        joined: str | None = self.execute(_as_one(statement), values).scalar()
        return joined.split(",") if joined else []

    def execute_each(self, statement: str, rows: Sequence[Values]) -> None:
        """Once for each row of values."""
        self.driver.executemany(statement, rows)

    def stream(self, statement: str, values: Values = _NONE) -> Iterator[Any]:
        """Rows that are not all held at once: there may be millions."""
        return iter(self.execute(statement, values))

    def begin(self, *, writes: bool, durable: bool) -> None:
        """Writing starts with BEGIN IMMEDIATE: a plain BEGIN takes the write lock too late and fails under contention
        instead of waiting."""
        self.driver.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self.driver.execute(f"BEGIN {'IMMEDIATE' if writes else 'DEFERRED'}")

    def commit(self) -> None:
        self.driver.commit()

    def rollback(self) -> None:
        self.driver.rollback()

    @property
    def broken(self) -> bool:
        """Whether it can be used no more."""
        return False

    def close(self) -> None:
        self.driver.close()


@lru_cache(64)
def _as_one(statement: str) -> str:
    return f"SELECT group_concat(name) FROM ({statement})"  # noqa: S608 - a statement of our own


def _shape_of(cursor: Any) -> Any:
    return _shape(tuple(column[0] for column in cursor.description))


@lru_cache(256)
def _shape(columns: tuple[str, ...]) -> Any:
    return namedtuple("Row", columns, rename=True)
