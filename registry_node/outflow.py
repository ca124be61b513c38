"""A large answer on a worker thread: where its bytes must be changed on their way (TLS), the event loop has no time for
that. What a plain socket sends without such work stays with zerocopy.py.

A thread sends for as long as the client takes bytes, at most a slice; slow clients wait on the event loop, so that few
threads are enough for any number of them.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from registry_node.bulk import Bulk
from registry_node.storage.incoming import ended

_SLICE = 8 * 1024 * 1024  # bytes until another answer gets its turn
_PAUSE = 0.02  # seconds in which the client takes nothing until the thread goes


class Outflows:
    """The threads that send, so many at once; others wait for their turn."""

    def __init__(self, threads: int, stalled: float) -> None:
        """``stalled``: seconds that a client may take nothing."""
        self._stalled = stalled
        self._threads = ThreadPoolExecutor(threads, "towpath-outflow")

    async def send(self, lent: Bulk, file: int, offset: int, count: int) -> None:
        """``count`` bytes of ``file`` from ``offset``; returns, also cancelled, when no thread uses the connection.

        Raises OSError when the client is gone, TimeoutError when it takes nothing, EOFError when the file is too short."""
        loop = asyncio.get_running_loop()
        while count:
            asked = min(count, _SLICE)
            running = loop.run_in_executor(self._threads, lent.send_file, file, offset, asked, _PAUSE)
            try:
                sent = await asyncio.shield(running)
            except asyncio.CancelledError:
                await ended(running)
                raise
            offset, count = offset + sent, count - sent
            if sent < asked:
                await _writable(loop, lent.fileno(), self._stalled)


async def _writable(loop: asyncio.AbstractEventLoop, out: int, stalled: float) -> None:
    ready = asyncio.Event()
    loop.add_writer(out, ready.set)
    try:
        async with asyncio.timeout(stalled):
            await ready.wait()
    finally:
        loop.remove_writer(out)
