"""The ledger of one scope: append-only NDJSON, fsync'd, each record chained to the one before by its hash.

One line: ``{"at", "body", "hash", "key", "kind", "prev", "seq"}``; ``hash`` is SHA-256 over the RFC 8785 form of the
rest, ``prev`` the hash before (GENESIS for the first). ``<scope>.head`` beside it names the last record, so that a
tail cut off by accident shows. Who can change both files can cut a tail unseen: only a checkpoint kept outside this
machine proves more (``verify(checkpoint=...)``).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import rfc8785

GENESIS = "0" * 64
_LINK = re.compile(
    rb'"hash":"(?P<hash>[0-9a-f]{64})","key":"[^"]*","kind":"[^"]*","prev":"(?P<prev>[0-9a-f]{64})","seq":(?P<seq>[0-9]{1,15})\}\n\Z'
)


class LedgerBroken(Exception):
    """The file is not what was written. Nothing is appended to it until someone has looked (``towpath audit``)."""


@dataclass(frozen=True, slots=True)
class Record:
    """``seq`` counts from 1; ``at`` is in seconds since the epoch; ``key`` is unique in its ledger."""

    seq: int
    prev: str
    at: float
    kind: str
    key: str
    body: dict[str, Any]

    @property
    def hash(self) -> str:
        return hashlib.sha256(rfc8785.dumps(self._unsealed())).hexdigest()

    def _unsealed(self) -> dict[str, Any]:
        known = {"seq": self.seq, "prev": self.prev, "at": self.at, "kind": self.kind, "key": self.key}
        return {**known, "body": self.body}

    def line(self) -> bytes:
        return rfc8785.dumps({**self._unsealed(), "hash": self.hash}) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Record:
        """Raises LedgerBroken when the line is no record, or not the one that its hash was made for."""
        try:
            value = json.loads(line, parse_int=_number)
            names = ("seq", "prev", "at", "kind", "key", "body")
            record, said = cls(*(value[each] for each in names)), value["hash"]
            found = record.hash
        except (ValueError, KeyError, TypeError, RecursionError):
            raise LedgerBroken("a line is no ledger record") from None
        if said != found or line != record.line():
            raise LedgerBroken(
                f"record {record.seq} was edited: its hash is {found[:12]}, the line says {str(said)[:12]}"
            )
        return record


@dataclass(frozen=True, slots=True)
class Proof:
    """What ``verify`` could prove. ``proven`` records from the start are whole and in order; ``head`` is the hash of
    the last of them. ``problems`` say what is wrong, in words."""

    records: int
    proven: int
    head: str
    problems: tuple[str, ...]
    torn_bytes: int = 0

    @property
    def whole(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger in one file. Appending is safe between processes (flock)."""

    path: Path
    clock: Callable[[], float] = time.time

    @classmethod
    def of_scope(cls, folder: Path, scope: str) -> Ledger:
        return cls(folder / f"{scope}.ndjson")

    @property
    def head_path(self) -> Path:
        return self.path.with_suffix(".head")

    def append(self, kind: str, key: str, body: dict[str, Any]) -> Record:
        """Writes one record and returns once it is on disk. The same key again returns the record that is there.

        A torn last line (a crash in mid-append; it was never acknowledged) is cut off, and a record says so.
        Raises LedgerBroken, OSError."""
        with self._locked() as file:
            found, last = self._scan(file, key)
            if found is not None:
                return found
            last = self._mend(file, last)
            return self._write(file, last, kind, key, body)

    def records(self) -> Iterator[Record]:
        """Oldest first; ends silently before a torn last line. Raises LedgerBroken at a damaged record, where records
        do not follow each other, and at an end before the one that the head file knows."""
        known, chain = self._head(), _Links(self.path.name)  # the head first: records may come meanwhile
        for line in self._lines():
            if line.endswith(b"\n"):
                chain.follow(line)
                yield Record.parse(line)
        if known and known[0] > chain.seq:
            raise LedgerBroken(
                f"{self.path.name}: the head file knows record {known[0]}, the ledger ends at {chain.seq}"
            )

    def verify(self, checkpoint: tuple[int, str] | None = None) -> Proof:
        """Reads all of it. ``checkpoint`` (seq, hash) is one that was kept elsewhere. Never raises for damage."""
        chain, problems = _Chain(), list[str]()
        total, torn = 0, 0
        for line in self._lines():
            if not line.endswith(b"\n"):
                torn = len(line)
                continue
            total += 1
            if not problems:
                problems += chain.follow(line)
        problems += self._against_heads(chain, checkpoint) if not problems else []
        return Proof(total, chain.seq, chain.head, tuple(problems), torn)

    def _lines(self) -> Iterator[bytes]:
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from file

    def _against_heads(self, chain: _Chain, checkpoint: tuple[int, str] | None) -> list[str]:
        known = [("the head file", self._head())] if self.head_path.exists() else []
        known += [("the checkpoint", checkpoint)] if checkpoint else []
        problems = []
        for name, head in known:
            if head is None:
                problems.append(f"{name} cannot be read")
            elif head[0] > chain.seq:
                problems.append(f"cut off: {name} knows {head[0]} records, here are {chain.seq}")
            elif head[0] and chain.hashes.get(head[0]) != head[1]:
                problems.append(f"rewritten: record {head[0]} is not the one that {name} knows")
        return problems

    def _head(self) -> tuple[int, str] | None:
        try:
            seq, hash_ = self.head_path.read_text().split()
            return int(seq), hash_
        except (OSError, ValueError):
            return None

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                _sync_folder(self.path.parent)
            yield file

    def _scan(self, file: IO[bytes], key: str) -> tuple[Record | None, bytes]:
        """The record of this key, if any, and the last whole line. Damage shows at the lines it must trust."""
        file.seek(0)
        last, wanted, chain = b"", b'"key":' + rfc8785.dumps(key), _Links(self.path.name)
        for line in file:
            if line.endswith(b"\n"):
                last = line
                chain.follow(line)
                if wanted in line and (record := Record.parse(line)).key == key:
                    return record, line
        return None, last

    def _mend(self, file: IO[bytes], last: bytes) -> bytes:
        """Cuts off a torn tail; refuses a file whose last record is not the head that was written."""
        previous = Record.parse(last) if last else None
        seq, head = (previous.seq, previous.hash) if previous else (0, GENESIS)
        known = self._head()
        if known is None and self.head_path.exists():
            raise LedgerBroken(f"{self.path.name}: the head file beside it cannot be read, so a cut would not show")
        if known and (known[0] > seq or (known[0] == seq and known[1] != head)):
            raise LedgerBroken(f"{self.path.name}: the head file knows record {known[0]}, the ledger ends at {seq}")
        torn = self._torn(file)
        if not torn:
            return last
        file.truncate(file.seek(0, os.SEEK_END) - len(torn))
        body = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
        return self._write(file, last, "mended", f"mended:{seq + 1}:{body['sha256']}", body).line()

    @staticmethod
    def _torn(file: IO[bytes]) -> bytes:
        file.seek(0)
        tail = b""
        for line in file:
            tail = line
        return b"" if tail.endswith(b"\n") else tail

    def _write(self, file: IO[bytes], last: bytes, kind: str, key: str, body: dict[str, Any]) -> Record:
        previous = Record.parse(last) if last else None
        seq, prev = (previous.seq + 1, previous.hash) if previous else (1, GENESIS)
        record = Record(seq, prev, self.clock(), kind, key, body)
        file.seek(0, os.SEEK_END)
        file.write(record.line())
        file.flush()
        os.fsync(file.fileno())
        self._write_head(record)
        return record

    def _write_head(self, record: Record) -> None:
        new = self.head_path.with_suffix(".head.new")
        with new.open("w") as file:
            file.write(f"{record.seq} {record.hash}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.head_path)
        _sync_folder(self.path.parent)


class _Links:
    """Whether records follow each other, by what the lines say; ``verify`` also hashes them again."""

    def __init__(self, name: str) -> None:
        self.name, self.seq, self._head = name, 0, GENESIS.encode()

    def follow(self, line: bytes) -> None:
        """Raises LedgerBroken."""
        found = _LINK.search(line)
        if found is None or (found["prev"], int(found["seq"])) != (self._head, self.seq + 1):
            comes = f"record {found['seq'].decode()}" if found else "a line that is no record"
            raise LedgerBroken(
                f"{self.name}: after record {self.seq} comes {comes}, which does not follow it: edited, reordered or removed"
            )
        self.seq, self._head = self.seq + 1, found["hash"]


class _Chain:
    """Follows records one by one."""

    def __init__(self) -> None:
        self.seq, self.head = 0, GENESIS
        self.hashes: dict[int, str] = {}

    def follow(self, line: bytes) -> list[str]:
        try:
            record = Record.parse(line)
        except LedgerBroken as error:
            return [f"after record {self.seq}: {error}"]
        if record.seq != self.seq + 1 or record.prev != self.head:
            return [
                f"after record {self.seq} comes record {record.seq}, which does not follow it: reordered or removed"
            ]
        self.seq, self.head = record.seq, record.hash
        self.hashes[record.seq] = record.hash
        return []


def _number(text: str) -> int | float:
    """RFC 8785 writes large floats without a point; its whole numbers end at 2^53."""
    whole = int(text)
    return whole if abs(whole) < 2**53 else float(text)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
