"""Keeps a cache within its size, and removes the files of what the index has forgotten. In the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from oci_wire.digest import HEX_LENGTH, Digest
from oci_wire.errors import RegistryError
from registry_node.metrics import write_line
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.fills import Fills
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.uses import Uses
from registry_node.storage import eviction, garbage
from registry_node.storage.garbage import FIRST
from registry_node.storage.store import Store

log = logging.getLogger(__name__)
_VICTIMS = 64  # looked at in one go
_UNNEEDED_SECONDS = 3600  # that a blob stays which no copy of an image names: its manifest may come or come back


class Evictor:
    """Belongs to one event loop. ``bytes``: of all copies, as of the last look."""

    def __init__(
        self, store: Store, fills: Fills, uses: Uses, placing: Placing, counts: Counts, *, most: int | None
    ) -> None:
        self._store, self._fills, self._uses, self._placing = store, fills, uses, placing
        self._counts, self._most = counts, most
        self._task: asyncio.Task[None] | None = None
        self._again = self._swept = False
        self.bytes = 0

    def wake(self) -> None:
        """Something came, or was removed."""
        if self._task is not None and not self._task.done():
            self._again = True
            return
        self._task = asyncio.create_task(self._run())

    async def rest(self) -> None:
        """Until it has nothing to do."""
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            try:
                if not self._swept:
                    await self._sweep()
                    self._swept = True
                await self._make_room()
                await self._let_go()
                await self._collect()
            except RegistryError as error:  # the next fill tries again
                log.warning("the cache is not tidied up: %s", error)

    async def _make_room(self) -> None:
        self.bytes = await self._store.read(eviction.cached_bytes)
        if self._most is None or self.bytes + self._fills.reserved <= self._most:
            return
        await self._fills.drop_parts()
        await self._uses.flush()
        limit = max(0, self._most - self._fills.reserved)
        while self.bytes > limit:
            before, spared = self.bytes, self._placing.busy
            victims = await self._store.read(lambda tx: eviction.oldest(tx, _VICTIMS))
            work = partial(eviction.evict, victims=victims, limit=limit, spared=spared)
            self.bytes = await self._store.write(work, durable=False)
            self._counts.evicted += before - self.bytes
            if self.bytes == before:  # what is left is in use
                break
            write_line(level="info", event="evicted", bytes=before - self.bytes, left=self.bytes)

    async def _let_go(self) -> None:
        """Blobs of images that somebody has removed."""
        before, after = self._store.clock() - _UNNEEDED_SECONDS, FIRST
        while page := await self._store.read(partial(garbage.unneeded, before=before, after=after)):
            await self._uses.flush()
            work = partial(eviction.let_go, links=page, before=before, spared=self._placing.busy)
            await self._store.write(work, durable=False)
            after = page[-1]

    async def _collect(self) -> None:
        """Removes what no repository has any more."""
        after = ""
        while page := await self._store.read(partial(garbage.unlinked, after=after)):
            await self._remove(page)
            after = page[-1]

    async def _remove(self, digests: Iterable[str]) -> None:
        with self._placing.doomed(digests) as doomed:
            if not doomed:
                return
            gone = await self._store.write(lambda unit: eviction.forget(unit, doomed), durable=False)
            await self._store.from_disk("the cache", _unlink, [self._store.files.path(Digest.parse(d)) for d in gone])

    async def _sweep(self) -> None:
        """Files that the index does not know: the node was killed before it learnt of them, or after it forgot them."""
        there = await self._store.from_disk("the cache", _all_files, self._store.files.blobs)
        known = await self._store.read(lambda tx: set(eviction.known(tx)))
        await self._remove(there - known)


def _all_files(blobs: Path) -> set[str]:
    found = set()
    for algorithm in HEX_LENGTH:
        for file in (blobs / algorithm).glob("??/*"):
            if len(file.name) == HEX_LENGTH[algorithm]:
                found.add(f"{algorithm}:{file.name}")
    return found


def _unlink(paths: Iterable[Path]) -> None:
    for each in paths:
        with suppress(FileNotFoundError):
            each.unlink()
