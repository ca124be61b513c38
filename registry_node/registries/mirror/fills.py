"""All fills of a mirror: one for each blob that is on its way, and the parts of those that stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import DigestInvalid, RegistryError, Unavailable
from oci_wire.registry import BlobStream, ByteRange
from registry_node.metrics import write_line
from registry_node.registries.mirror.counts import Counts
from registry_node.registries.mirror.fill import Fill, Open, WrongBytes
from registry_node.registries.mirror.parts import Part, Parts, Sought
from registry_node.registries.mirror.placing import Placing
from registry_node.registries.mirror.reading import Reading
from registry_node.storage.blobs import add_blob
from registry_node.storage.changes import Transaction
from registry_node.storage.incoming import Incoming, whole
from registry_node.storage.store import Store

T = TypeVar("T")
log = logging.getLogger(__name__)
THREADS = 8  # that read from upstreams; a fill that nothing comes for has none


class Fills:
    """Belongs to one event loop. ``filled`` is called after each one that was kept, ``blame`` with
    the upstream whose bytes were wrong, and what they were not.

    A blob is on its way once for all to whom one upstream gave a manifest that names it, as long as its bytes come from
    there: another one may hold what that one only named. When they have to come from another one, they come for each
    repository alone."""

    def __init__(
        self, store: Store, placing: Placing, counts: Counts, *, most: int | None, finish_share: float
    ) -> None:
        """``most``: bytes of the largest blob that is kept."""
        self._store, self._placing, self._counts = store, placing, counts
        self._most, self._finish_share = most, finish_share
        self._running: dict[Sought, Fill] = {}
        self._tasks: dict[Fill, asyncio.Task[None]] = {}
        self._parts = Parts(store)
        self._threads = ThreadPoolExecutor(THREADS, "towpath-fill")
        self.filled: Callable[[], None] = lambda: None
        self.blame: Callable[[str, Digest], None] = lambda *_: None

    @property
    def running(self) -> int:
        """Fills under way."""
        return len(self._tasks)

    @property
    def reserved(self) -> int:
        """Bytes of parts, and of blobs that are on their way."""
        return self._parts.bytes + sum(fill.size for fill in self._running.values() if fill.stored)

    async def read(self, sought: Sought, key: str, span: ByteRange | None, open_at: Open) -> BlobStream:
        """Joins the fill of a blob, or begins it, at once: the caller has just seen that it is not in the cache, after
        ``ready``. ``key``: a repository that may have it. Raises what kept it from being opened, NotShared,
        RangeInvalid."""
        fill = self._joined(sought, open_at)
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
        return BlobStream(Descriptor(OCTET_STREAM, fill.digest, size), reading.at, reading.stop, reading)

    async def ready(self, digest: Digest, key: str, giver: str) -> Sought:
        """As what a repository (``key``) is to ``read`` a blob now: with all to whom the upstream ``giver`` named it, or
        alone. A fill that is being stopped cannot be joined, and what it has got is not there for the next one yet."""
        while True:
            sought = self._sought(digest, key, giver)
            running = self._running.get(sought)
            if running is None or not self._has_ended(running):
                return sought
            await asyncio.wait({self._tasks[running]})

    def _sought(self, digest: Digest, key: str, giver: str) -> Sought:
        alone = Sought(digest, repository=key)
        begun = alone in self._running or self._parts.has(alone)
        return alone if begun or not giver else Sought(digest, giver)

    def _joined(self, sought: Sought, open_at: Open) -> Fill:
        running = self._running.get(sought)
        if running is not None and running.stored:
            return running
        part = self._parts.take(sought) if running is None else None
        if part is None:
            part = Part(self._new(sought.digest))
        elif part.incoming.size:
            self._counts.resumed += 1
        return self._begin(sought, part, open_at)

    def _has_ended(self, fill: Fill) -> bool:
        """Whether only tidying up is left to do, and nobody gets any more of it."""
        return fill.error is not None or fill.stopping

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

    def _begin(self, sought: Sought, part: Part, open_at: Open) -> Fill:
        fill = Fill(sought, part, self._store, open_at, self._most, threads=self._on_thread)
        fill.narrowed = lambda: self._narrow(fill)
        self._running.setdefault(sought, fill)  # one that is not kept may run beside it
        self._tasks[fill] = asyncio.create_task(self._run(fill))
        self._tasks[fill].add_done_callback(lambda _: self._ended(fill))
        self._counts.blob_misses += 1
        return fill

    def _narrow(self, fill: Fill) -> None:
        """It is for its one repository alone from now on."""
        self._forget(fill)
        (key,) = fill.keys
        fill.sought = Sought(fill.digest, repository=key)
        self._running.setdefault(fill.sought, fill)

    def _forget(self, fill: Fill) -> None:
        if self._running.get(fill.sought) is fill:
            del self._running[fill.sought]

    def _ended(self, fill: Fill) -> None:
        """Also one that was stopped before it began."""
        self._forget(fill)
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
            wrong = isinstance(failure, WrongBytes | DigestInvalid)
            for each in fill.givers if wrong else ():  # before anybody asks again
                self.blame(each, fill.digest)
            fill.fail(failure)
            await self._put_away(fill, wrong=wrong)
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
        giver = fill.part.giver

        def work(unit: Transaction) -> None:
            for key in tuple(fill.keys):  # on a thread: somebody may be joining
                add_blob(unit, key, fill.digest, fill.size, giver)

        try:
            async with self._placing.put(str(fill.digest)):
                await self._store.on_disk("a blob", fill.incoming.keep, self._store.files, fill.digest)
                await self._store.write(work, durable=False)
        except RegistryError as error:
            log.warning("%s was served and is not cached: %s", fill.digest, error)
            await self._parts.drop(fill.part)
        return None

    async def _put_away(self, fill: Fill, *, wrong: bool = False) -> None:
        """The part of a fill that stopped waits for the next asker; what is wrong goes as a whole."""
        part = fill.part
        self._counts.wrong += wrong
        if wrong or not fill.stored or not part.incoming.size or fill.verified:
            return await self._parts.drop(part)
        return await self._parts.keep(fill.sought, part)

    async def drop_parts(self) -> None:
        """Their room is needed."""
        await self._parts.drop_all()

    def _left(self, reading: Reading) -> None:
        fill = reading.fill
        if fill.readers:
            return
        task = self._tasks.get(fill)
        if task is None:
            fill.close()
        elif not self._is_worth_finishing(fill):
            self._counts.stopped += 1
            fill.stopping = True
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
        self._parts.stop()
        for task in self._tasks.values():
            task.cancel()
        self._threads.shutdown(wait=False)
