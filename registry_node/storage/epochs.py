"""Whether what a process remembers of the index still holds: counters in memory that all processes of a node share.

A question to PostgreSQL costs a round trip, so its answers are kept (postgresql.py) - but never for a time, only as
long as nothing was committed that could change them, which each read looks up here. ``<data>/epochs`` holds a counter
for each of 4096 groups of repositories:

1. a writer that is about to commit makes the counters of its repositories odd: in doubt;
2. it commits, and makes them even again: a new epoch;
3. only then it answers.

A reader that finds the even number under which an answer was kept may give that answer: no commit had begun. With an
odd or another number it asks. A writer that dies between 1 and 2 leaves doubt, which costs time and nothing else, until
the next writing transaction, which cannot begin before the dead one's has ended, settles it. One node, so one machine,
has a folder (ownership.py) and an index (postgresql.py); there is nobody else who could commit.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

_GROUPS = 4096
_DOUBT = _GROUPS  # the last number: whether any counter may be odd
_BYTES = (_GROUPS + 1) * 8


class Epochs:
    """``of`` is for anybody, the rest for the process that has the turn."""

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / "epochs", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_size < _BYTES:
                os.ftruncate(file, _BYTES)
            self._memory = mmap.mmap(file, _BYTES)
        finally:
            os.close(file)
        self._counters = memoryview(self._memory).cast("Q")  # aligned: each is written and read in one step

    def of(self, repository: str) -> int:
        """The number of this repository's epoch; odd while that is in doubt."""
        return self._counters[_group(repository)]

    def doubt(self, repositories: Iterable[str]) -> None:
        """Before a commit that changes them."""
        self._counters[_DOUBT] = 1
        for group in {_group(each) for each in repositories}:
            self._counters[group] |= 1

    def settle(self, repositories: Iterable[str]) -> None:
        """After that commit."""
        self._make_even({_group(each) for each in repositories})

    def heal(self) -> None:
        """At the beginning of a writing transaction: whatever one before it left in doubt is decided by now."""
        if self._counters[_DOUBT]:
            self._make_even(range(_GROUPS))

    def _make_even(self, groups: Iterable[int]) -> None:
        for group in groups:
            if self._counters[group] & 1:
                self._counters[group] += 1
        self._counters[_DOUBT] = 0

    def close(self) -> None:
        self._counters.release()
        self._memory.close()


def _group(repository: str) -> int:
    return zlib.crc32(repository.encode()) % _GROUPS
