"""Who may touch a content's file: one side puts it in place, the other removes it, never both at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager


class Placing:
    """Belongs to one event loop. Digests as text."""

    def __init__(self) -> None:
        self._placing: Counter[str] = Counter()
        self._reading: Counter[str] = Counter()
        self._doomed: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def put(self, digest: str) -> AsyncIterator[None]:
        """While a file is put in place and the index learns of it."""
        while (doomed := self._doomed.get(digest)) is not None:
            await doomed.wait()
        self._placing[digest] += 1
        try:
            yield
        finally:
            _less(self._placing, digest)

    def read(self, digest: str) -> None:
        """An answer is read out of it from now on, until ``unread``."""
        self._reading[digest] += 1

    def unread(self, digest: str) -> None:
        _less(self._reading, digest)

    @property
    def busy(self) -> frozenset[str]:
        """What is being read, or put in place."""
        return frozenset(self._reading) | frozenset(self._placing)

    @contextmanager
    def doomed(self, digests: Iterable[str]) -> Iterator[tuple[str, ...]]:
        """Those of them that may be removed now: nobody puts them in place meanwhile."""
        chosen = {each: asyncio.Event() for each in digests if each not in self.busy and each not in self._doomed}
        self._doomed.update(chosen)
        try:
            yield tuple(chosen)
        finally:
            for each, event in chosen.items():
                del self._doomed[each]
                event.set()


def _less(counts: Counter[str], digest: str) -> None:
    counts[digest] -= 1
    if not counts[digest]:
        del counts[digest]
