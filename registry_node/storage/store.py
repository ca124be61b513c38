"""One open data folder: content, index, journal, the locks between processes, and the threads.

    <data>/lock, turn        ownership.py
    <data>/index.db          metadata.py
    <data>/epochs            epochs.py
    <data>/journal.ndjson    journal.py
    <data>/blobs, uploads, temp    files.py

Writing transactions run on one thread, in the order in which they were asked (commits.py); questions to the index on two
more; bytes on a few others, so that a slow upload never stands before a commit. Several processes may have the folder open
(``share``) once one of them, or their parent, has prepared it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar, cast

from oci_wire.errors import Unavailable
from registry_node.storage.changes import Transaction
from registry_node.storage.commits import Commits
from registry_node.storage.epochs import Epochs
from registry_node.storage.errors import DatabaseUnreachable, Health, IndexTooOld, in_port_words, unusable
from registry_node.storage.files import BlobFiles
from registry_node.storage.history import Kept
from registry_node.storage.journal import Journal, last_position
from registry_node.storage.metadata import Metadata
from registry_node.storage.news import News
from registry_node.storage.ownership import Ownership, Turn
from registry_node.storage.reads import INDEX, Reads
from registry_node.storage.replay import replay
from registry_node.storage.rules import Change, Rule
from registry_node.storage.sql import Connection

T = TypeVar("T")
P = ParamSpec("P")
log = logging.getLogger(__name__)
JOURNAL = "journal.ndjson"
BYTE_THREADS = 8


class Store:
    """What ``LocalRegistry`` stands on. ``open`` and ``close`` block; the rest belongs to one event loop."""

    def __init__(
        self,
        folder: Path,
        rules: tuple[Rule, ...] = (),
        clock: Callable[[], float] = time.time,
        dsn: str | None = None,
        kept: Kept = Kept(),  # noqa: B008 - frozen
    ) -> None:
        """``dsn``: of the index, when it lies in PostgreSQL."""
        self.folder = folder
        self.files = BlobFiles(folder)
        self.clock = clock
        self.health = Health()
        self._ownership: Ownership | None = None
        self._rules = rules
        self._dsn = dsn
        self._kept = kept
        self._reader = ThreadPoolExecutor(2, "towpath-read")
        self._bytes = ThreadPoolExecutor(BYTE_THREADS, "towpath-bytes")

    @classmethod
    def open(
        cls,
        folder: Path,
        rules: tuple[Rule, ...] = (),
        clock: Callable[[], float] = time.time,
        dsn: str | None = None,
        kept: Kept = Kept(),  # noqa: B008 - frozen
        *,
        shared: bool = False,
    ) -> Store:
        """Owns the folder and brings it up to date. ``shared``: as one of several processes over a folder that their
        parent has prepared and owns. Raises CannotOpen, any of them."""
        store = cls(folder, rules, clock, dsn, kept)
        if shared:
            return store._opened(store._join, shared=True)
        store._ownership = Ownership.take(folder)
        return store._opened(store._prepare)

    @classmethod
    def prepare(cls, folder: Path, dsn: str | None = None) -> Ownership:
        """Brings a folder up to date for processes that will share it. Raises as ``open`` does."""
        store = cls.open(folder, dsn=dsn)
        ownership, store._ownership = store._ownership, None
        store.close()
        assert ownership is not None
        return ownership

    def _opened(self, first: Callable[[], None], *, shared: bool = False) -> Store:
        try:
            first()
            self.reads = self._hot_reads()
            self.news = News(self.reads.last_position, shared=shared)
            self._commits = Commits(
                metadata=self.metadata,
                journal=self.journal,
                turn=self._turn,
                epochs=self._epochs,
                health=self.health,
                kept=self._kept,
                start=self._unit,
                tell=self.news.tell,
            )
        except BaseException as error:
            self._end_threads()
            self._release()
            if isinstance(error, OSError):
                raise unusable(self.folder, error) from error
            raise
        return self

    def _prepare(self) -> None:
        self.files.prepare()
        self._take_turns(Turn(self.folder, first=True))
        self._epochs = Epochs(self.folder)
        self._epochs.begin(neighbours=self._dsn is None)
        path = self.folder / INDEX
        self.metadata = _postgresql().open_index(self._dsn, self.folder) if self._dsn else Metadata.open(path)
        self.journal = Journal.open(self.folder / JOURNAL)
        self._agree()
        self._epochs.heal()

    def _join(self) -> None:
        """A process that takes a killed one's place also writes down what that one had committed; when PostgreSQL is
        away, the next writer does."""
        self._take_turns(Turn(self.folder))
        self._epochs = Epochs(self.folder)
        self.metadata = _postgresql().join_index(self._dsn) if self._dsn else Metadata.join(self.folder / INDEX)
        self.journal = Journal(self.folder / JOURNAL)
        with (
            suppress(Unavailable),
            in_port_words(self.health, "the index"),
            self._turn.mine(),
            self.metadata.reading() as tx,
        ):
            self.journal.catch_up(tx)

    def _take_turns(self, turn: Turn) -> None:
        self._turn = turn
        self.health.on_failure = turn.end

    def _hot_reads(self) -> Reads:
        if self._dsn:
            return cast(Reads, _postgresql().PostgresqlReads(self._dsn, self.health, self.files, self._epochs))
        return Reads(self.folder / INDEX, self.health, self.files, self._epochs)

    _turn: Turn
    _epochs: Epochs
    metadata: Metadata
    journal: Journal
    reads: Reads
    news: News
    _commits: Commits

    def close(self) -> None:
        """Waits for what is being written, then gives the folder back. Twice is no error."""
        self._end_threads()
        self._commits.close()
        self.reads.close()
        self.metadata.close()
        self._turn.close()
        self._release()

    def _release(self) -> None:
        if self._ownership is not None:
            self._ownership.close()

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Runs ``work`` in a writing transaction: all of it is on disk (also the journal) when this returns. It may share
        that with others (commits.py), and may be run again: it changes nothing but the index.

        A cancelled caller does not stop it. Raises Unavailable, InsufficientStorage, Internal, and what ``work``
        raises: then nothing has changed."""
        self.health.check()
        return await self._commits.add(work, durable)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` on one consistent view of the index."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._view, work)

    def check(self, tx: Connection, change: Change) -> None:
        """Whether the rules would refuse this now: asked early, before bytes are taken. The writing transaction asks
        again."""
        self._unit(tx).check(change)

    def _unit(self, tx: Connection) -> Transaction:
        return Transaction(tx, self._rules, self.clock)

    async def on_disk(self, what: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs work that writes files in a thread of its own. ``what`` names it in errors. Raises Unavailable,
        InsufficientStorage, Internal."""
        self.health.check()
        return await self._in_thread(what, False, partial(work, *args, **kwargs))

    async def from_disk(self, what: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for work that reads: it goes on when the disk takes no more writes. Raises Internal."""
        return await self._in_thread(what, True, partial(work, *args, **kwargs))

    def guarded(self, what: str, work: Callable[P, T]) -> Callable[P, T]:
        """The same for a thread that is not ours."""

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            self.health.check()
            with in_port_words(self.health, what):
                return work(*args, **kwargs)

        return run

    async def _in_thread(self, what: str, reading: bool, work: Callable[[], T]) -> T:
        def run() -> T:
            with in_port_words(self.health, what, reading=reading):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._bytes, run)

    def _view(self, work: Callable[[Connection], T]) -> T:
        with in_port_words(self.health, "the index"), self.metadata.reading() as tx:
            return work(tx)

    def _agree(self) -> None:
        """Index and journal tell the same story: whichever is short learns from the other."""
        with self.metadata.writing() as tx:
            known = last_position(tx)
            if 0 < known < self.journal.snapshot_through:
                raise IndexTooOld(
                    f"the index of {self.folder} ends before what {JOURNAL} still tells one by one (change {known}; it has "
                    f"them from {self.journal.snapshot_through + 1}): it comes from an old backup. Keep a copy, then give "
                    "the node an empty index (remove index.db, or another database): it is built anew from the journal"
                )
            if self.journal.position > known:
                count = replay(Transaction(tx, (), self.clock), self.files, self.journal.after(known))
                log.warning("the index was behind %s: %d changes were played back", self.folder / JOURNAL, count)
        with self.metadata.reading() as tx:
            self.journal.catch_up(tx)
            sessions = set(tx.execute("SELECT id FROM uploads").scalars())
        self.files.keep_uploads(sessions)

    def _end_threads(self) -> None:
        for pool in (self._bytes, self._reader):
            pool.shutdown(wait=True)


def _postgresql() -> ModuleType:
    """Raises DatabaseUnreachable without psycopg, which only those install who need it."""
    try:
        from registry_node.storage import postgresql  # noqa: PLC0415
    except ImportError as missing:
        raise DatabaseUnreachable(
            f"an index in PostgreSQL needs a package that is not installed here ({missing.name}): "
            "pip install 'towpath[postgresql]'"
        ) from missing
    return postgresql
