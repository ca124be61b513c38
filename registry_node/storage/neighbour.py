"""The hot reads of another node's data folder, for a process of the same machine and user: by its files, not its port.

It answers as that node itself would: the same index, read-only, the same epochs (epochs.py), the same content. Neither
process waits for the other. The node may end, start again, or start with another index: a start makes a new number
(``Epochs.began``), and then the index is opened again; a folder that was put in the place of this one is told by the
identity of its epochs' file, which reads look at every two milliseconds. While that node starts, or when it was updated
to a schema that this version does not know, reads are refused with Unavailable.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oci_wire.errors import Unavailable
from registry_node.storage.epochs import FILE, Epochs, group_of
from registry_node.storage.errors import NeighbourUnreadable
from registry_node.storage.files import BlobFiles
from registry_node.storage.reads import INDEX, Looking, Reads
from registry_node.storage.remembered import Remembered
from registry_node.storage.schema import HEAD

_AGAIN_SECONDS = 1.0  # after which a folder that could not be opened is tried again
# No node that starts in a folder put in the place of this one could answer anybody so soon.
_LOOK_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class _View:
    """What was opened together: they are replaced together, too."""

    looking: Looking
    epochs: Epochs
    began: int
    remembered: Remembered


Mark = tuple[
    _View, memoryview, int, int
]  # as of which answers about one repository hold: the place of its number, and it
_IN_DOUBT = -1


class Neighbour(Reads):
    """As ``Reads``; Unavailable for all that goes wrong. ``files`` has the content that it speaks of.

    ``named``, ``blob_bytes``, ``resolve`` and ``blob`` of what was asked before take a microsecond or two."""

    def __init__(self, folder: Path) -> None:
        """Raises NeighbourUnreadable: no node of this version has started there, its index is not a file, or it
        starts just now."""
        self.folder, self.files = folder, BlobFiles(folder)
        self._epochs_file = os.fspath(folder / FILE)
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._view = self._opened()

    def mark(self, repository: str) -> Mark:
        """To be taken before it is asked about this repository. Raises Unavailable."""
        view, group = self._current(), group_of(repository)
        number = view.epochs.numbers[group]
        return view, view.epochs.numbers, group, _IN_DOUBT if number & 1 else number

    def holds(self, mark: Mark) -> bool:
        """Whether what it said then it would say now: a node that starts changes all numbers, too. Raises Unavailable."""
        view, numbers, group, number = mark
        if numbers[group] != number or view is not self._view:
            return False
        return time.monotonic() < self._look_at or self._is_current(view)

    def close(self) -> None:
        self._view.looking.close()

    def _opened(self) -> _View:
        try:
            epochs = Epochs(self.folder, neighbour=True)
        except (OSError, ValueError) as error:
            raise self._unreadable(f"no node of this version has started there ({error})") from error
        began = epochs.began
        if not began:
            raise self._unreadable("its index is not a file there")
        if began & 1:
            raise self._unreadable("its node is starting")
        looking = self._connected()
        if epochs.began != began:
            looking.close()
            raise self._unreadable("its node is starting")

        def first(question: str, values: tuple[Any, ...]) -> Any:
            rows = self._asked(looking, question, values)
            return rows[0] if rows else None

        return _View(looking, epochs, began, Remembered(epochs, first))

    def _connected(self) -> Looking:
        try:
            looking = Looking(self.folder / INDEX)
            version = looking.rows("SELECT version_num FROM alembic_version")
        except sqlite3.Error as error:
            raise self._unreadable(f"its index cannot be read ({error})") from error
        if version != [(HEAD,)]:
            looking.close()
            raise self._unreadable("another version of towpath wrote its index; run the same one for both")
        return looking

    def _of_repository(self, question: str, repository: str, value: str) -> Any:
        return self._current().remembered.row(question, repository, value)

    def _rows(self, question: str, values: tuple[Any, ...]) -> list[Any]:
        return self._asked(self._current().looking, question, values)

    def _asked(self, looking: Looking, question: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return looking.rows(question, values)
        except sqlite3.Error as error:
            raise Unavailable(f"the index of {self.folder} cannot be read: {error}", retry_after=1.0) from error

    def _current(self) -> _View:
        """What the node has now. Raises Unavailable."""
        view = self._view
        if self._is_current(view):
            return view
        with self._lock:
            if not self._is_current(self._view):
                try:
                    self._view = self._opened()  # the old one is closed when the last thread lets go of it
                except NeighbourUnreadable as error:
                    raise Unavailable(str(error), retry_after=1.0) from error
            return self._view

    def _is_current(self, view: _View) -> bool:
        """The number is looked at for each read, the folder a little less often: it costs more than the answer."""
        if view.epochs.began != view.began:
            return False
        now = time.monotonic()
        if now < self._look_at:
            return True
        try:
            found = os.stat(self._epochs_file)  # noqa: PTH116 - many reads do this; a Path costs twice as much
        except OSError as error:
            raise Unavailable(f"{self.folder} is not there: {error.strerror}", retry_after=1.0) from error
        if view.epochs.file != (found.st_dev, found.st_ino):
            return False
        self._look_at = now + _LOOK_SECONDS
        return True

    def _unreadable(self, why: str) -> NeighbourUnreadable:
        return NeighbourUnreadable(f"{self.folder}: this node's content cannot be read from its files: {why}")


class Folder:
    """A data folder in which a node may start, or start again, at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._neighbour: Neighbour | None = None
        self._look_at = 0.0

    def reads(self) -> Neighbour | None:
        """None: it cannot be read by its files, now."""
        if self._neighbour is None and time.monotonic() >= self._look_at:
            try:
                self._neighbour = Neighbour(self._path)
            except NeighbourUnreadable:
                self._look_at = time.monotonic() + _AGAIN_SECONDS
        return self._neighbour
