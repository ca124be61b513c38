"""A file to a socket without passing through this process: ``os.sendfile``, a piece at a time on the event loop.

uvloop's ``loop.sendfile`` raises NotImplementedError; a duplicate of the socket with ``add_writer`` does the same work,
once the transport itself has nothing left to send.
"""

from __future__ import annotations

import asyncio
import os

_PIECE = 1024 * 1024  # bytes before others on the event loop get their turn
_STALLED = 300.0  # seconds without a byte taken


async def send(loop: asyncio.AbstractEventLoop, sock: int, file: int, offset: int, count: int) -> None:
    """Sends ``count`` bytes of ``file`` from ``offset``. Both descriptors stay the caller's.

    Raises OSError when the client is gone, TimeoutError when it takes nothing, EOFError when the file is too short."""
    out = os.dup(sock)
    try:
        while count:
            sent = await _piece(loop, out, file, offset, min(count, _PIECE))
            if sent == 0:
                raise EOFError(f"{count} bytes of the file are missing")
            offset, count = offset + sent, count - sent
    finally:
        os.close(out)


async def _piece(loop: asyncio.AbstractEventLoop, out: int, file: int, offset: int, count: int) -> int:
    while True:
        try:
            sent = os.sendfile(out, file, offset, count)
        except BlockingIOError:
            await _writable(loop, out)
            continue
        await asyncio.sleep(0)
        return sent


async def _writable(loop: asyncio.AbstractEventLoop, out: int) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(out, _settle, ready)
    try:
        async with asyncio.timeout(_STALLED):
            await ready
    finally:
        loop.remove_writer(out)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
