"""What can go wrong below the port: a data folder that cannot be opened, and disk errors put into the port's words.

CannotOpen                  code, message: what, where, why, what to do
├── DataFolderInUse         another process owns the folder
├── DataFolderUnusable      it cannot be made, read or written
├── DatabaseCorrupt         the index is not a healthy SQLite database
├── DatabaseTooNew          a newer version of towpath wrote it
├── DatabaseUnreachable     PostgreSQL does not answer, or psycopg is missing
├── DatabaseElsewhere       the index in PostgreSQL belongs to another folder
├── IndexTooOld             the journal no longer has what the index lacks
├── JournalCorrupt          the journal of changes cannot be read
└── NeighbourUnreadable     another node's folder, which this one reads, does not let it
"""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from oci_wire.errors import InsufficientStorage, Internal, RequestInvalid, Unavailable

log = logging.getLogger(__name__)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (errno.EIO, errno.EROFS)
# SQLSTATE classes: connection, resources, a server that stops or starts, one that only reads; then locks and time-outs.
_AWAY = ("08", "53", "57P", "58", "25006", "28")
_IN_THE_WAY = ("40", "55", "57014")
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of what other requests give back soon


class CannotOpen(Exception):
    """A data folder cannot be used. ``str()`` is the whole story for a person."""

    code: ClassVar[str] = "data-folder"


class DataFolderInUse(CannotOpen):
    code = "data-folder-in-use"


class DataFolderUnusable(CannotOpen):
    code = "data-folder-unusable"


class DatabaseCorrupt(CannotOpen):
    code = "database-corrupt"


class DatabaseTooNew(CannotOpen):
    code = "database-too-new"


class DatabaseUnreachable(CannotOpen):
    code = "database-unreachable"


class DatabaseElsewhere(CannotOpen):
    code = "database-elsewhere"


class IndexTooOld(CannotOpen):
    code = "index-too-old"


class JournalCorrupt(CannotOpen):
    code = "journal-corrupt"


class NeighbourUnreadable(CannotOpen):
    code = "neighbour-unreadable"


class Health:
    """Whether this data folder still takes writes. After a failed write to the disk itself nobody knows what
    reached it, and asking again may say "done" wrongly (fsync never repeats an error): so no more writes."""

    def __init__(self) -> None:
        self.failure = ""
        self.on_failure: Callable[[], None] = lambda: None  # lets other processes know

    def check(self) -> None:
        """Raises Unavailable when the disk has failed."""
        if self.failure:
            raise Unavailable(f"this node only reads since its disk failed ({self.failure}); check the disk, restart")

    def fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        self.on_failure()
        log.critical("the disk failed, this node only reads from now on: %s", reason)


@contextmanager
def in_port_words(health: Health, what: str, *, reading: bool = False) -> Iterator[None]:
    """Turns errors of disk and database into InsufficientStorage, Unavailable or Internal. One unreadable file
    (``reading``) says nothing about writes."""
    try:
        yield
    except OSError as error:
        raise _of_reading(what, error) if reading else _of_disk(health, what, error) from error
    except Exception as error:
        if isinstance(error, sqlite3.Error) or _is_of_postgresql(error):
            raise of_database(health, what, error) from error
        raise


def _of_reading(what: str, error: OSError) -> Exception:
    if error.errno in _SHORT:
        return _too_much(what, error)
    log.error("%s: %s", what, error)
    return Internal(f"{what} cannot be read from this node's disk: {error.strerror}")


def _of_disk(health: Health, what: str, error: OSError) -> Exception:
    if error.errno in _FULL:
        return InsufficientStorage(f"no space is left for {what}; free some on the node's disk, then send it again")
    if error.errno in _BROKEN:
        health.fail(f"{what}: {error.strerror}")
        return Unavailable(f"the disk failed while writing {what}: {error.strerror}")
    if error.errno in _SHORT:
        return _too_much(what, error)
    log.error("%s: %s", what, error)
    return Internal(f"{what}: {error.strerror or 'the disk refused'}")


def _too_much(what: str, error: OSError) -> Exception:
    return Unavailable(f"{what}: this node does too much at once ({error.strerror}); try again", retry_after=1.0)


def of_database(health: Health, what: str, error: BaseException) -> Exception:
    """The port's error for one of SQLite's or PostgreSQL's."""
    if _is_of_postgresql(error):
        return _of_postgresql(what, error)
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return InsufficientStorage(f"no space is left for {what}; free some on the node's disk, then send it again")
    if name.startswith("SQLITE_IOERR"):
        health.fail(f"{what}: {error}")
        return Unavailable(f"the disk failed under the index: {error}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable("the index is busy; try again", retry_after=1.0)
    log.error("%s: %s %s", what, name, error)
    return Internal("the index of this node is damaged" if name.startswith("SQLITE_CORRUPT") else "the index failed")


def _is_of_postgresql(error: BaseException) -> bool:
    """Without psycopg, which only those have who need it."""
    return type(error).__module__.startswith("psycopg")


def _of_postgresql(what: str, error: BaseException) -> Exception:
    """By the SQLSTATE; an error without one is the connection's."""
    state = getattr(error, "sqlstate", None) or ""
    log.error("%s: %s %s", what, state, str(error).strip().partition("\n")[0])
    if state.startswith("22") or type(error).__name__ == "DataError":
        return RequestInvalid("a text of this request cannot be kept: it has a NUL, or half a character")
    if state.startswith("53100"):
        return InsufficientStorage(f"no space is left for {what} in PostgreSQL; free some, then send it again")
    if not state or state.startswith(_AWAY):
        return Unavailable("the index of this node is away; try again", retry_after=1.0)
    if state.startswith(_IN_THE_WAY):
        return Unavailable("the index is busy; try again", retry_after=1.0)
    return Internal("the index failed")


def unusable(folder: Path, error: OSError) -> DataFolderUnusable:
    return DataFolderUnusable(
        f"{folder}: this data folder cannot be used: {error.strerror}; check its owner, its mode and its disk"
    )
