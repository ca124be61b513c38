"""Whether what a process remembers of the index still holds: counters in memory that all processes of a node share.

A question to the index costs as much as the rest of a read, so its answers are kept (remembered.py) - but never for a
time, only as long as nothing was committed that could change them, which each read looks up here. ``<data>/epochs`` holds
a counter for each of 4096 groups of repositories:

1. a writer that is about to commit makes the counters of its repositories odd: in doubt;
2. it commits, and makes them even again: a new epoch;
3. only then it answers.

A reader that finds the even number under which an answer was kept may give that answer: no commit had begun. With an
odd or another number it asks. A writer that dies between 1 and 2 leaves doubt, which costs time and nothing else, until
the next writing transaction, which cannot begin before the dead one's has ended, settles it. One node, so one machine,
has a folder (ownership.py) and an index (postgresql.py); there is nobody else who could commit.

Others may read (neighbour.py), and remember beyond the node's end. So a node that starts makes all numbers odd before it
touches the index, which may be another one by now; and it begins with a number that it draws, so that none comes twice,
also when this file comes from a backup.
"""

from __future__ import annotations

import mmap
import os
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path

FILE = "epochs"
_GROUPS = 4096
_BEGAN = _GROUPS  # the number with which the node began; odd while it starts, 0 when no neighbour may read
_DOUBT = _GROUPS + 1  # whether any number may be odd
_BYTES = (_GROUPS + 2) * 8


class Epochs:
    """``numbers`` and ``group_of`` are for anybody, the rest for the process that has the turn.

    The memory goes with the object: a request that comes after ``Store.close`` must not find it gone."""

    def __init__(self, folder: Path, *, neighbour: bool = False) -> None:
        """``neighbour``: only reads what a node has made. Raises OSError, ValueError (not whole)."""
        mode = os.O_RDONLY if neighbour else os.O_RDWR | os.O_CREAT
        file = os.open(folder / FILE, mode | os.O_CLOEXEC, 0o600)
        try:
            if not neighbour:
                os.posix_fallocate(file, 0, _BYTES)  # now: a full disk would kill who writes to memory without a page
            found = os.fstat(file)
            memory = mmap.mmap(file, _BYTES, prot=mmap.PROT_READ | (0 if neighbour else mmap.PROT_WRITE))
        finally:
            os.close(file)
        self.file = found.st_dev, found.st_ino
        # aligned: each is written and read in one step
        self.numbers = memoryview(memory).cast("Q")

    @property
    def began(self) -> int:
        """Changes when the node starts, and perhaps has another index then. Odd while it starts; 0: not for us."""
        return self.numbers[_BEGAN]

    def begin(self, *, neighbours: bool) -> None:
        """A node starts: all is in doubt until ``heal``. ``neighbours``: whether they may read its index."""
        number = secrets.randbits(61) << 1 | 1
        self.numbers[_DOUBT] = 1
        for group in range(_GROUPS):
            self.numbers[group] = number
        self.numbers[_BEGAN] = number if neighbours else 0

    def doubt(self, repositories: Iterable[str]) -> None:
        """Before a commit that changes them."""
        self.numbers[_DOUBT] = 1
        for group in {group_of(each) for each in repositories}:
            self.numbers[group] |= 1

    def settle(self, repositories: Iterable[str]) -> None:
        """After that commit."""
        self._make_even({group_of(each) for each in repositories})

    def heal(self) -> None:
        """At the beginning of a writing transaction: whatever one before it left in doubt is decided by now."""
        if self.numbers[_DOUBT]:
            self._make_even(range(_GROUPS + 1))

    def _make_even(self, groups: Iterable[int]) -> None:
        for group in groups:
            if self.numbers[group] & 1:
                self.numbers[group] += 1
        self.numbers[_DOUBT] = 0


def group_of(repository: str) -> int:
    """Where its number stands."""
    return zlib.crc32(repository.encode()) % _GROUPS
