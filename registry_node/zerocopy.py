"""A file to a socket without passing through this process: ``os.sendfile``, a piece at a time on the event loop.

uvloop's ``loop.sendfile`` raises NotImplementedError; a duplicate of the socket with ``add_writer`` does the same work,
once the transport itself has nothing left to send. The loop calls for each piece as long as the socket takes more: no
coroutine is woken in between, which would cost as much as the piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

_PIECE = 2 * 1024 * 1024  # bytes before others on the event loop get their turn


async def all_written(transport: asyncio.WriteTransport, writable: Callable[[], Awaitable[None]], high: int) -> None:
    """Returns once the transport has nothing left to send, or is closing. ``writable`` returns while its buffer is
    below its limit, which is ``high`` again at the end."""
    transport.set_write_buffer_limits(0)  # now writable means just that
    while transport.get_write_buffer_size() and not transport.is_closing():
        await asyncio.sleep(0)  # until the transport has seen to it
        await writable()
    if not transport.is_closing():
        transport.set_write_buffer_limits(high)


async def send(
    loop: asyncio.AbstractEventLoop, sock: int, file: int, offset: int, count: int, *, stalled: float
) -> None:
    """Sends ``count`` bytes of ``file`` from ``offset``. Both descriptors stay the caller's. ``stalled``: seconds that
    the client may take nothing.

    Raises OSError when the client is gone, TimeoutError when it takes nothing, EOFError when the file is too short."""
    sent = 0
    with contextlib.suppress(BlockingIOError):  # a part of a growing file often fits at once
        sent = os.sendfile(sock, file, offset, min(count, _PIECE)) if count else 0
    if sent == count:
        return
    offset, count = offset + sent, count - sent
    sending = _Sending(loop, os.dup(sock), file, offset, count, stalled=stalled)
    try:
        await sending.done
    finally:
        sending.stop()


class _Sending:
    """``done``: all of it was sent, or it cannot be."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, out: int, file: int, offset: int, count: int, *, stalled: float
    ) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._loop, self._out, self._file = loop, out, file
        self._offset, self._left, self._seen, self._stalled = offset, count, -1, stalled
        loop.add_writer(out, self._send_piece)
        self._look()

    def stop(self) -> None:
        self._timer.cancel()
        self._loop.remove_writer(self._out)
        os.close(self._out)

    def _send_piece(self) -> None:
        if self.done.done():  # the loop calls on until whoever waits has run
            return
        try:
            sent = os.sendfile(self._out, self._file, self._offset, min(self._left, _PIECE)) if self._left else 0
        except BlockingIOError:
            return
        except OSError as error:
            self.done.set_exception(error)
            return
        self._offset, self._left = self._offset + sent, self._left - sent
        if not self._left:
            self.done.set_result(None)
        elif not sent:
            self.done.set_exception(EOFError(f"{self._left} bytes of the file are missing"))

    def _look(self) -> None:
        """Whether anything was sent since the last look."""
        if self._seen == self._offset and not self.done.done():
            self.done.set_exception(TimeoutError(f"the client took nothing for {self._stalled:g} s"))
        self._seen = self._offset
        self._timer = self._loop.call_later(self._stalled, self._look)
