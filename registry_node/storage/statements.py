"""Statements that are said more than once: SQLite and PostgreSQL both understand them. Names of columns are given as
words of one text."""

from __future__ import annotations

from collections.abc import Sequence


def insert(table: str, columns: str) -> str:
    """A row whose values are all parameters, one for each column."""
    names = columns.split()
    marks = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names of our own columns


def put(table: str, keys: str, others: str = "", *, change: str | None = None) -> str:
    """The same for a row that may be there already: one that has these keys gets the new values of ``change`` (None: of
    all others); with none it stays as it is."""
    changed = (others if change is None else change).split()
    then = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changed)}" if changed else "NOTHING"
    return f"{insert(table, f'{keys} {others}')} ON CONFLICT ({', '.join(keys.split())}) DO {then}"


def among(digests: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What follows ``IN``, and its values: at most a few hundred at once."""
    values = {f"among{number}": each for number, each in enumerate(digests)}
    return f"({', '.join(f':{name}' for name in values)})", values
