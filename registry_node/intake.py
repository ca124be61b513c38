"""A large request body on a worker thread, off the event loop (decision 0008).

The thread reads the connection until its buffer is full, hands what is body to the sink (which hashes and writes it),
and reads on. It stops when nothing comes for a moment or its slice of time is over: slow clients wait on the event
loop, so that few threads are enough for any number of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from oci_wire.errors import RegistryError, RequestInvalid
from registry_node.bulk import Bulk, Sink
from registry_node.framing import Body, Span
from registry_node.storage.incoming import ended

_BUFFER = 1024 * 1024  # bytes: what a hash takes at once, so that giving up the GIL for it pays
_KEPT = 2  # buffers that wait for the next body
_PAUSE = 0.05  # seconds without a byte until the thread goes
_SLICE = 0.5  # seconds until another body gets its turn
_free: list[mmap.mmap] = []


class BodyTooSlow(RegistryError):
    """408: the body did not come as fast as the limits want it."""

    status, code = 408, RequestInvalid.code

    @classmethod
    def by(cls, seconds: float, least: int) -> BodyTooSlow:
        return cls(f"fewer than {least} bytes of the body came in {seconds:g} s")


class Intake:
    """One body on its way. ``rest``: bytes that came and are not read yet, at the end those behind the body;
    ``received``: bytes of body that the sink got; ``gone``: the client hung up; ``broken``: it is no chunked body."""

    def __init__(self, lent: Bulk, body: Body, parsed: bytes, rest: bytes, sink: Sink) -> None:
        """``parsed``: body that the event loop had read already."""
        self.lent, self.body, self.rest = lent, body, rest
        self._parsed, self._sink = parsed, sink
        self.received, self.gone, self.broken, self.stopped = 0, False, False, False

    @property
    def complete(self) -> bool:
        return self.body.complete and not self._parsed

    def run(self) -> float:
        """A slice of the work, on a thread: the time (``monotonic``) at which it began. Raises RequestInvalid and
        whatever the sink raises; what came before that, or before the client hung up, the sink has got."""
        began = time.monotonic()
        parsed, self._parsed = self._parsed, b""
        if parsed:
            self._hand_over(memoryview(parsed))
        with _buffer() as buffer, memoryview(buffer) as view:
            while not self.body.complete and self._fill(buffer, view, began + _SLICE):
                pass
        return began

    def _fill(self, buffer: mmap.mmap, view: memoryview, until: float) -> bool:
        """Reads until the buffer is full, the body may be whole, or nothing comes: then hands over what is there.
        False: that is all for now."""
        filled, more = len(self.rest), True
        view[:filled] = self.rest
        while more:
            more = not self.stopped and time.monotonic() < until
            try:
                count = self.lent.recv_into(view[filled:], _PAUSE if more else 0)
            except TimeoutError:
                more = False
                break
            filled += count
            if count == 0:
                self.gone, more = True, False
            if filled == _BUFFER or self.body.may_end(buffer, filled):
                break
        self._take(buffer, view, filled)
        return more

    def _take(self, buffer: mmap.mmap, view: memoryview, filled: int) -> None:
        try:
            spans, end = self.body.spans(buffer, filled)
        except RequestInvalid:
            self.broken = True
            raise
        self.rest = bytes(view[end:filled])
        size = _moved_together(view, spans)
        if size:
            self._hand_over(view[:size])

    def _hand_over(self, view: memoryview) -> None:
        self.received += len(view)
        with view:
            self._sink(view)


def _moved_together(view: memoryview, spans: list[Span]) -> int:
    """The bytes of the spans moved to the front of the buffer; how many they are."""
    size = 0
    for start, stop in spans:
        if start != size:
            view[size : size + stop - start] = view[start:stop]
        size += stop - start
    return size


@contextmanager
def _buffer() -> Iterator[mmap.mmap]:
    """A buffer of a thread's own, given back to the system when there are many: the allocator might keep it."""
    try:
        buffer = _free.pop()
    except IndexError:
        buffer = mmap.mmap(-1, _BUFFER)
    try:
        yield buffer
    finally:
        if len(_free) < _KEPT:
            _free.append(buffer)
        else:
            with contextlib.suppress(BufferError):  # an error on its way up holds it; it goes with that
                buffer.close()


class Intakes:
    """The threads that take bodies, so many at once; others wait for their turn. ``seconds``, ``least``: each time so
    many seconds are over, at least so many bytes must have come."""

    def __init__(self, threads: int, seconds: float, least: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "towpath-intake")
        self._seconds, self._least = seconds, least

    async def complete(self, intake: Intake) -> None:
        """Returns when the body is complete or its client gone; cancelled, once no thread uses the connection any
        more. Raises BodyTooSlow, and what ``Intake.run`` raises."""
        since, counted = time.monotonic(), 0
        while True:
            asked = time.monotonic()
            since += await self._slice(intake) - asked  # to wait for a thread is no fault of the client
            if intake.complete or intake.gone:
                return
            if intake.received - counted >= self._least:
                since, counted = time.monotonic(), intake.received
            if not await _readable(intake.lent, since + self._seconds - time.monotonic()):
                raise BodyTooSlow.by(self._seconds, self._least)

    async def _slice(self, intake: Intake) -> float:
        work = self._threads.submit(intake.run)
        running = asyncio.wrap_future(work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            intake.stopped = True
            if not work.cancel():
                await ended(running)
            raise


async def _readable(lent: Bulk, seconds: float) -> bool:
    """Whether something comes within this time."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(lent.fileno(), ready.set)
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(lent.fileno())
    return True
