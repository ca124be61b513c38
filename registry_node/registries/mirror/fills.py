"""All fills of a mirror: one for each blob that is on its way, and the parts of those that stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import DigestInvalid, RegistryError, Unavailable
from oci_wire.registry import BlobStream, ByteRange
from registry_node.metrics import write_line
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.fill import Fill, Open, Part, WrongBytes
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.reading import Reading
from registry_node.storage.blobs import add_blob
from registry_node.storage.changes import Transaction
from registry_node.storage.incoming import Incoming, whole
from registry_node.storage.store import Store

T = TypeVar("T")
log = logging.getLogger(__name__)
THREADS = 8  # that read from upstreams; a fill that nothing comes for has none
_PARTS = 32  # of stopped fills that are kept, until the node ends


class Fills:
    """Belongs to one event loop. ``filled`` is called after each one that was kept, ``blame`` with
    the upstream whose bytes were wrong."""

    def __init__(
        self, store: Store, placing: Placing, counts: Counts, *, most: int | None, finish_share: float
    ) -> None:
        """``most``: bytes of the largest blob that is kept."""
        self._store, self._placing, self._counts = store, placing, counts
        self._most, self._finish_share = most, finish_share
        self._running: dict[Digest, Fill] = {}
        self._tasks: dict[Fill, asyncio.Task[None]] = {}
        self._parts: OrderedDict[Digest, Part] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, "towpath-fill")
        self.filled: Callable[[], None] = lambda: None
        self.blame: Callable[[str], None] = lambda _: None

    def size(self, digest: Digest) -> int | None:
        """Of a blob that is on its way, once that is known."""
        fill = self._running.get(digest)
        return fill.size if fill is not None and fill.opened.is_set() and fill.error is None else None

    def on_its_way_to(self, digest: Digest, key: str) -> bool:
        fill = self._running.get(digest)
        return fill is not None and key in fill.keys

    @property
    def running(self) -> int:
        """Fills under way."""
        return len(self._tasks)

    @property
    def reserved(self) -> int:
        """Bytes of parts, and of blobs that are on their way."""
        parts = sum(part.incoming.size for part in self._parts.values())
        return parts + sum(fill.size for fill in self._running.values() if fill.stored)

    async def read(self, digest: Digest, key: str, span: ByteRange | None, open_at: Open) -> BlobStream:
        """Joins the fill of a blob, or begins it. ``key``: a repository that may have it. Raises what kept it from being
        opened, RangeInvalid."""
        fill = await self._joined(digest, open_at)
        reading = Reading(fill, self._left)
        fill.keys.add(key)
        try:
            size = await fill.until_open()
            reading.at, reading.stop = (span or ByteRange()).within(size)
            if not size:
                await fill.until_verified()
        except BaseException:
            await reading.aclose()
            raise
        return BlobStream(Descriptor(OCTET_STREAM, digest, size), reading.at, reading.stop, reading)

    async def _joined(self, digest: Digest, open_at: Open) -> Fill:
        while (running := self._running.get(digest)) is not None and self._tasks[running].cancelling():
            await asyncio.wait({self._tasks[running]})
        if running is not None and running.stored:
            return running
        part = self._parts.pop(digest, None) if running is None else None
        if part is None:
            part = Part(self._new(digest))
        elif part.incoming.size:
            self._counts.resumed += 1
        return self._begin(digest, part, open_at)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await whole(asyncio.get_running_loop().run_in_executor(self._threads, work))

    def _new(self, digest: Digest) -> Incoming:
        """A disk that is full or broken keeps nobody from pulling: then nothing is kept."""
        path = self._store.files.temp_path()
        try:
            return self._store.guarded("a blob", Incoming.new)(path, digest.algorithm)
        except RegistryError as error:
            log.warning("%s is not kept: %s", digest, error)
            return Incoming(path, digest.algorithm, new_hasher(digest.algorithm))

    def _begin(self, digest: Digest, part: Part, open_at: Open) -> Fill:
        fill = Fill(digest, part, self._store, open_at, self._most, threads=self._on_thread)
        self._running.setdefault(digest, fill)  # one that is not kept may run beside it
        self._tasks[fill] = asyncio.create_task(self._run(fill))
        self._tasks[fill].add_done_callback(lambda _: self._ended(fill))
        self._counts.blob_misses += 1
        return fill

    def _ended(self, fill: Fill) -> None:
        """Also one that was stopped before it began."""
        if self._running.get(fill.digest) is fill:
            del self._running[fill.digest]
        self._tasks.pop(fill, None)
        if not fill.readers:
            fill.close()

    async def _run(self, fill: Fill) -> None:
        before, error = fill.received, ""
        try:
            await fill.run()
            await self._keep(fill)
        except asyncio.CancelledError:
            error = "everybody left"
            fill.fail(Unavailable(f"the fill of {fill.digest} was stopped; ask again"))
            await self._put_away(fill)
        except Exception as failure:
            error = str(failure)
            fill.fail(failure)
            wrong = isinstance(failure, WrongBytes | DigestInvalid)
            await self._put_away(fill, wrong=wrong)
            if wrong:
                self.blame(fill.upstream)
            if not isinstance(failure, RegistryError):
                log.exception("the fill of %s broke", fill.digest)
        finally:
            self._counts.blob_bytes += fill.received - before
            self._tell(fill, error)
            self._ended(fill)
        if not error:
            self.filled()

    async def _keep(self, fill: Fill) -> None:
        """Content first, then the index. What cannot be kept was served all the same."""
        if not fill.stored:
            self._counts.passed_through += 1
            return await self._put_away(fill)

        def work(unit: Transaction) -> None:
            for key in fill.keys:
                add_blob(unit, key, fill.digest, fill.size)

        try:
            async with self._placing.put(str(fill.digest)):
                await self._store.on_disk("a blob", fill.incoming.keep, self._store.files, fill.digest)
                await self._store.write(work, durable=False)
        except RegistryError as error:
            log.warning("%s was served and is not cached: %s", fill.digest, error)
            await self._drop(Part(fill.incoming))
        return None

    async def _put_away(self, fill: Fill, *, wrong: bool = False) -> None:
        """The part of a fill that stopped waits for the next asker; what is wrong goes as a whole."""
        part = Part(fill.incoming, fill.size)
        self._counts.wrong += wrong
        if wrong or not fill.stored or not part.incoming.size or fill.verified:
            return await self._drop(part)
        self._parts[fill.digest] = part
        while len(self._parts) > _PARTS:
            await self._drop(self._parts.popitem(last=False)[1])
        return None

    async def _drop(self, part: Part) -> None:
        with suppress(RegistryError):
            await self._store.from_disk("a blob", part.incoming.path.unlink, missing_ok=True)

    async def drop_parts(self) -> None:
        """Their room is needed."""
        while self._parts:
            await self._drop(self._parts.popitem(last=False)[1])

    def _left(self, reading: Reading) -> None:
        fill = reading.fill
        if fill.readers:
            return
        task = self._tasks.get(fill)
        if task is None:
            fill.close()
        elif not self._is_worth_finishing(fill):
            self._counts.stopped += 1
            task.cancel()

    def _is_worth_finishing(self, fill: Fill) -> bool:
        if fill.verified or fill.error is not None:  # what is left to do is to tidy up
            return True
        share = self._finish_share
        return fill.stored and share < 1 and fill.opened.is_set() and fill.received >= share * fill.size

    def _tell(self, fill: Fill, error: str) -> None:
        write_line(
            level="info" if not error else "warning",
            event="fill",
            digest=str(fill.digest),
            upstream=fill.upstream,
            bytes=fill.received,
            size=fill.size,
            seconds=round(time.monotonic() - fill.began, 3),
            kept=fill.stored and not error,
            cuts=fill.cuts,
            **({"error": error} if error else {}),
        )

    def stop(self) -> None:
        """The node ends."""
        for task in self._tasks.values():
            task.cancel()
        self._threads.shutdown(wait=False)
