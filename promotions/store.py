"""The engine's rows: promotions and where they are. Every change of state is one committed transaction."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, TypeVar

import rfc8785
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, insert, select, update
from ulid import ULID

from promotions import failpoints
from promotions.database import open_database, unusable_named, writing
from promotions.schema import PROMOTIONS
from promotions.states import State, check

T = TypeVar("T")
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class PromotionRow:
    """One promotion (schema.py says what the columns hold). ``reasons``, ``code`` and ``remedy`` are of its end."""

    id: str
    request_key: str
    edge: str
    repository: str
    reference: str
    digest: str
    tags: list[str]
    intent: str
    requester: str
    how: str
    asked_at: float
    state: State
    state_at: float
    live_key: str | None = None
    resume: State | None = None
    expected: dict[str, str | None] | None = None
    binding: str | None = None
    verdicts: list[dict[str, Any]] | None = None
    evidence: bytes | None = None
    evidence_manifest: bytes | None = None
    receipt: dict[str, Any] | None = None
    code: str | None = None
    reasons: list[str] | None = None
    remedy: str | None = None


_COLUMNS = tuple(each.name for each in fields(PromotionRow))


class RowMoved(Exception):
    """The row is not in the state that its runner thought: another one has it."""


def request_key(edge: str, repository: str, digest: str, tags: Sequence[str], intent: str = "promote") -> str:
    """SHA-256 (hex) over the RFC 8785 form of what is asked for, whoever asks and however often."""
    asked = {"edge": edge, "repository": repository, "digest": digest, "tags": sorted(tags), "intent": intent}
    return hashlib.sha256(rfc8785.dumps(asked)).hexdigest()


def new_id(kind: str = "pr") -> str:
    """``pr_`` and a ULID in lower case: ids sort by the time they were made."""
    return f"{kind}_{str(ULID()).lower()}"


class Store:
    """Rows in SQL; ``folder`` also holds the claims (one lock file for each promotion that somebody runs)."""

    def __init__(self, engine: Engine, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.engine, self.clock = engine, clock
        self._claims = folder / "claims"
        self._claims.mkdir(parents=True, exist_ok=True)

    @classmethod
    def open(cls, folder: Path, clock: Callable[[], float] = time.time) -> Store:
        """The store in ``folder``/promotions.db. Raises DatabaseUnusable."""
        return cls(open_database(folder / "promotions.db"), folder, clock)

    def close(self) -> None:
        self.engine.dispose()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs one unit of work in a thread, in a writing transaction."""

        def run() -> T:
            with unusable_named(self.engine), writing(self.engine) as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def read(self, work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with unusable_named(self.engine), self.engine.connect() as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    async def request(self, row: PromotionRow, settled: str | None) -> PromotionRow | None:
        """The live promotion of this request: the one that is there, or this new one.

        ``settled`` is the newest settled promotion of the request that the caller looked at; None is answered when
        another has settled since: look again."""

        def ask(tx: Connection) -> PromotionRow | None:
            live = tx.execute(_newest(PROMOTIONS.c.live_key == row.request_key)).first()
            if live is not None:
                return _row(live)
            found = tx.execute(_newest(_settled(row.request_key))).first()
            if (found.id if found else None) != settled:
                return None
            tx.execute(insert(PROMOTIONS).values(**_values(row)))
            return row

        asked = await self.write(ask)
        if asked is row:
            failpoints.reached(row.state)
        return asked

    async def enter(self, row: PromotionRow, state: State, **changes: Any) -> PromotionRow:
        """Moves a row to the next state. Raises ImpossibleTransition, RowMoved."""
        check(row.state, state)
        changes |= {"state": state.value, "state_at": self.clock()}
        if state.ended:
            changes["live_key"] = None
        after = await self._update(row, changes)
        failpoints.reached(state)
        return after

    async def keep(self, row: PromotionRow, **changes: Any) -> PromotionRow:
        """Changes of a row that stays in its state. Raises RowMoved."""
        return await self._update(row, changes)

    async def get(self, promotion: str) -> PromotionRow | None:
        return await self._first(PROMOTIONS.c.id == promotion)

    async def live_of(self, key: str) -> PromotionRow | None:
        """The promotion of this request that has not ended."""
        return await self._first(PROMOTIONS.c.live_key == key)

    async def settled(self, key: str) -> PromotionRow | None:
        """The newest settled promotion of this request."""
        return await self._first(_settled(key))

    async def live(self, *, edge: str | None = None, repository: str | None = None) -> list[PromotionRow]:
        """Promotions that have not ended, oldest first."""
        where: list[ColumnElement[bool]] = [PROMOTIONS.c.live_key.is_not(None)]
        where += [PROMOTIONS.c.edge == edge] if edge else []
        where += [PROMOTIONS.c.repository == repository] if repository else []
        return await self._all(and_(*where))

    async def history(self, repository: str, digest: str | None = None) -> list[PromotionRow]:
        """Promotions of a repository (of one digest), oldest first: for ``why`` and ``status``."""
        where = PROMOTIONS.c.repository == repository
        return await self._all(where & (PROMOTIONS.c.digest == digest) if digest else where)

    async def newest(self, limit: int = 50) -> list[PromotionRow]:
        """The latest promotions, newest first."""
        query = select(PROMOTIONS).order_by(PROMOTIONS.c.id.desc()).limit(limit)
        return [_row(each) for each in await self.read(lambda tx: tx.execute(query).all())]

    @asynccontextmanager
    async def claimed(self, name: str) -> AsyncIterator[None]:
        """Waits until nobody else runs this (in any process; a killed runner's claim ends with it)."""
        path = self._claim(name)
        file = await self._lock(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # under the lock; whoever waits for it finds that the file is gone
            file.close()

    @asynccontextmanager
    async def claimed_at_once(self, name: str) -> AsyncIterator[bool]:
        """Whether nobody runs this now; then it is ours, as with ``claimed``."""
        path = self._claim(name)
        file = _try_lock(path)
        try:
            yield file is not None
        finally:
            if file is not None:
                path.unlink(missing_ok=True)
                file.close()

    def _claim(self, name: str) -> Path:
        return self._claims / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock"

    @staticmethod
    async def _lock(path: Path) -> IO[bytes]:
        while True:
            file = _try_lock(path)
            if file is not None:
                return file
            await asyncio.sleep(_POLL_SECONDS)

    async def _update(self, row: PromotionRow, changes: dict[str, Any]) -> PromotionRow:
        where = (PROMOTIONS.c.id == row.id) & (PROMOTIONS.c.state == row.state.value)
        changed = {name: value.value if isinstance(value, State) else value for name, value in changes.items()}
        result = await self.write(lambda tx: tx.execute(update(PROMOTIONS).where(where).values(**changed)))
        if result.rowcount != 1:
            raise RowMoved(f"{row.id} is no longer {row.state}: another process runs it")
        after = await self.get(row.id)
        assert after is not None
        return after

    async def _first(self, where: ColumnElement[bool]) -> PromotionRow | None:
        found = await self.read(lambda tx: tx.execute(_newest(where)).first())
        return _row(found) if found is not None else None

    async def _all(self, where: ColumnElement[bool]) -> list[PromotionRow]:
        query = select(PROMOTIONS).where(where).order_by(PROMOTIONS.c.id)
        return [_row(each) for each in await self.read(lambda tx: tx.execute(query).all())]


def _newest(where: ColumnElement[bool]) -> Select[Any]:
    return select(PROMOTIONS).where(where).order_by(PROMOTIONS.c.id.desc()).limit(1)


def _settled(key: str) -> ColumnElement[bool]:
    return (PROMOTIONS.c.request_key == key) & (PROMOTIONS.c.state == State.SETTLED.value)


def _try_lock(path: Path) -> IO[bytes] | None:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    if _is_same_file(file, path):
        return file
    file.close()
    return None


def _is_same_file(file: IO[bytes], path: Path) -> bool:
    try:
        there, here = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _values(row: PromotionRow) -> dict[str, Any]:
    values = asdict(row) | {"live_key": row.request_key, "state": row.state.value}
    return {name: values[name] for name in _COLUMNS}


def _row(found: Row[Any]) -> PromotionRow:
    values = {name: found._mapping[name] for name in _COLUMNS}
    values["state"] = State(values["state"])
    values["resume"] = State(values["resume"]) if values["resume"] else None
    return PromotionRow(**values)
