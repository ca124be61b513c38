"""Group commit: units of work that came while others were being committed share the next commit.

One thread writes. It takes all units that wait, runs each in a savepoint of one writing transaction, in the order in
which they were asked, commits once, brings the journal up to date once, and then answers them all: two fsyncs for a
group instead of two for each. A unit that fails is rolled back alone, and answered with the others: what it was refused
for may be what one before it has done. When the commit fails, none of them has happened and each gets that error; for
want of space they are tried again one by one, so that what is small does not fail with what is large.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from oci_wire.errors import InsufficientStorage, RegistryError
from registry_node.storage import history
from registry_node.storage.changes import Transaction
from registry_node.storage.epochs import Epochs
from registry_node.storage.errors import Health, in_port_words
from registry_node.storage.history import Kept
from registry_node.storage.journal import Journal
from registry_node.storage.metadata import Metadata
from registry_node.storage.ownership import Turn
from registry_node.storage.sql import Connection

T = TypeVar("T")
log = logging.getLogger(__name__)
MOST = 100  # units of one group


@dataclass(slots=True, eq=False)
class _Unit:
    """``answer`` belongs to the event loop, the rest to the thread once the unit is in a group."""

    work: Callable[[Transaction], Any]
    durable: bool
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        if self.answer.done():  # its caller has been cancelled
            return
        if self.error is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.error)


class Commits:
    """The writing transactions of one open data folder. ``add`` belongs to one event loop."""

    def __init__(
        self,
        *,
        metadata: Metadata,
        journal: Journal,
        turn: Turn,
        epochs: Epochs,
        health: Health,
        kept: Kept,
        start: Callable[[Connection], Transaction],
        tell: Callable[[], None],
    ) -> None:
        """``start``: a unit with its rules and clock. ``tell`` is called on the event loop when the journal has grown."""
        self._metadata, self._journal, self._turn, self._epochs = metadata, journal, turn, epochs
        self._health, self._kept, self._start, self._tell = health, kept, start, tell
        self._thread = ThreadPoolExecutor(1, "towpath-write")
        self._lock = threading.Lock()
        self._waiting: list[_Unit] = []
        self._busy = False

    def add(self, work: Callable[[Transaction], T], durable: bool) -> asyncio.Future[T]:
        """The result of ``work``, once it is on disk with its lines of the journal."""
        unit = _Unit(work, durable, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(unit)
            busy, self._busy = self._busy, True
        if not busy:
            self._thread.submit(self._go_on)
        return unit.answer

    def close(self) -> None:
        """Waits for all that was added. Twice is no error."""
        self._thread.shutdown(wait=True)

    def _go_on(self) -> None:
        while group := self._next():
            news = self._commit(group)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                group[0].answer.get_loop().call_soon_threadsafe(self._answer, group, news)

    def _next(self) -> list[_Unit]:
        with self._lock:
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._busy = bool(group)
            return group

    def _answer(self, group: Sequence[_Unit], news: bool) -> None:
        if news:
            self._tell()
        for unit in group:
            unit.tell()

    def _commit(self, group: Sequence[_Unit]) -> bool:
        """Whether the journal has grown."""
        committed = False
        try:
            self._health.check()  # again: it may have failed since they were asked
            with in_port_words(self._health, "the index"), self._turn.mine():
                news = self._in_transaction(group)
                committed = True
                if news:
                    self._write_down(durable=_durable(group))
                return news
        except BaseException as error:
            if isinstance(error, InsufficientStorage) and len(group) > 1 and not committed:
                grown = [self._commit([unit]) for unit in group]
                return any(grown)
            for unit in group:
                unit.error = error
            return False

    def _in_transaction(self, group: Sequence[_Unit]) -> bool:
        touched: set[str] = set()
        news = 0
        with self._metadata.writing(durable=_durable(group)) as tx:
            self._epochs.heal()
            for unit in group:
                done = self._alone(tx, unit) if len(group) == 1 else self._beside_others(tx, unit)
                if done is not None:
                    touched |= done.touched
                    news += done.news
            self._epochs.doubt(touched)
        self._epochs.settle(touched)  # not after an error: nobody knows yet whether it was committed
        return news > 0

    def _alone(self, tx: Connection, unit: _Unit) -> Transaction:
        begun = self._start(tx)
        unit.result, unit.error = unit.work(begun), None
        return begun

    def _beside_others(self, tx: Connection, unit: _Unit) -> Transaction | None:
        """None: it came to nothing, and left nothing. Raises when the whole transaction has ended with it."""
        tx.execute("SAVEPOINT unit")
        try:
            with in_port_words(self._health, "the index"):
                done = self._alone(tx, unit)
        except Exception as error:
            unit.error = error
            try:
                tx.execute("ROLLBACK TO SAVEPOINT unit")
            except Exception:
                raise error from None
            done = None
        tx.execute("RELEASE SAVEPOINT unit")
        return done

    def _write_down(self, *, durable: bool) -> None:
        with self._metadata.reading() as tx:
            self._journal.catch_up(tx, durable=durable)
            long = history.is_too_long(tx, self._journal.position, self._kept)
        if long:
            self._prune()

    def _prune(self) -> None:
        """What goes wrong here is no trouble of the change that came before it."""
        try:
            with in_port_words(self._health, "the index"):
                with self._metadata.writing() as tx:
                    history.prune(tx, self._journal.position, self._kept, self._start(tx).clock())
                with self._metadata.reading() as tx:
                    self._journal.rewrite(tx, self._start(tx).clock())
        except RegistryError as error:
            log.error("old changes could not be dropped: %s", error)


def _durable(group: Sequence[_Unit]) -> bool:
    return any(unit.durable for unit in group)
