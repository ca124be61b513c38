"""The journal: every change of tags and manifests as one line of JSON, on disk before the change is acknowledged.

``journal.ndjson`` follows the index: a change commits there, then its line is appended and synced here, then the
writer gets its answer. A process killed in between leaves the journal short; the next start adds what is missing.
A journal that is *longer* than the index means that the index was lost or restored from a backup: the start plays
the rest back (``replay``). So with the content store, where manifests lie too, the index can always be rebuilt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry_node.storage.changes import LINE
from registry_node.storage.errors import JournalCorrupt
from registry_node.storage.files import append, sync_folder
from registry_node.storage.history import SNAPSHOT, snapshot
from registry_node.storage.sql import Connection

_TAIL = 64 * 1024
KINDS = ("tag", "manifest", "manifest-deleted")
_KNOWN = (*KINDS, SNAPSHOT)

_COLUMNS = ("position", *LINE.split())
_AFTER = f"SELECT {', '.join(_COLUMNS)} FROM journal WHERE position > :after ORDER BY position"  # noqa: S608
_LAST = "SELECT coalesce(max(position), 0) FROM journal"


class Journal:
    """The open journal of a data folder. Whoever writes it has the turn (ownership.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0  # of the last line
        self.snapshot_through = 0  # the last position that a snapshot stands for (history.py)
        self._seen = (0, -1)  # the file and its size, when it was last looked at

    @classmethod
    def open(cls, path: Path) -> Journal:
        """Drops a last line that a power cut left torn. Raises JournalCorrupt."""
        opened = cls(path)
        if not path.exists():
            path.touch(mode=0o600)
            sync_folder(path.parent)
        opened._look()
        return opened

    def catch_up(self, tx: Connection, *, durable: bool = True) -> None:
        """Appends the changes that the index has and the journal has not, and syncs them if they are to be
        ``durable``. What another process wrote meanwhile counts, but for a line that its end left torn."""
        self._look()
        rows = [row._asdict() for row in tx.execute(_AFTER, {"after": self.position})]
        if not rows:
            return None
        if int(rows[0]["position"]) > self.position + 1:  # the file lost what the index no longer keeps
            return self.rewrite(tx, float(rows[-1]["at"]))
        lines = b"".join(_line(row) for row in rows)
        append(self.path, lines)
        if durable:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        self.position = int(rows[-1]["position"])
        self._seen = (self._seen[0], self._seen[1] + len(lines))
        return None

    def rewrite(self, tx: Connection, now: float) -> None:
        """Writes the file anew: a snapshot for what the index no longer has, then all that it has."""
        new = self.path.with_suffix(".new")
        with new.open("wb") as file:
            file.writelines(snapshot(tx, now))
            for row in tx.stream(_AFTER, {"after": 0}):
                file.write(_line(row._asdict()))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)
        sync_folder(self.path.parent)
        self._look()

    def _look(self) -> None:
        if self._seen != _stamp(self.path):
            _drop_torn_line(self.path)
            self.position = _last_position(self.path)
            self.snapshot_through = _snapshot_through(self.path)
            self._seen = _stamp(self.path)

    def after(self, position: int) -> Iterator[dict[str, Any]]:
        """The lines after a position, in order; after 0 the snapshot comes first. Raises JournalCorrupt."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                entry = _parse(self.path, number, line)
                if entry["kind"] != SNAPSHOT and (entry["position"] > position or position == 0):
                    yield entry


def last_position(tx: Connection) -> int:
    """Of the index."""
    return int(tx.execute(_LAST).scalar())


def _line(row: dict[str, Any]) -> bytes:
    present = {key: value for key, value in row.items() if value is not None}
    return json.dumps(present, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if entry["kind"] in (*KINDS, SNAPSHOT) and isinstance(entry["position"], int) and set(entry) <= set(_COLUMNS):
            return dict(entry)
    except (ValueError, KeyError, TypeError):
        pass
    raise JournalCorrupt(
        f"{path}:{number}: this line is no entry of the journal. The index does not need it while it is whole: "
        "keep a copy of the folder, then move the journal away and start again; the index writes it anew"
    )


def _drop_torn_line(path: Path) -> None:
    """A line without its end was never acknowledged."""
    size = path.stat().st_size
    with path.open("rb+") as file:
        end = size
        while end > 0:
            start = max(0, end - _TAIL)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_size


def _snapshot_through(path: Path) -> int:
    with path.open("rb") as file:
        line = file.readline()
    entry = _parse(path, 1, line) if line else {"kind": ""}
    return int(entry["rev"]) if entry["kind"] == SNAPSHOT else 0


def _last_position(path: Path) -> int:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        reach = _TAIL
        while size:
            file.seek(max(0, size - reach))
            lines = file.read().splitlines()
            if len(lines) > 1 or reach >= size:
                return int(_parse(path, 0, lines[-1])["position"])
            reach *= 4
    return 0
