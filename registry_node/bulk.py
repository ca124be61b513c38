"""A connection's bytes as a worker thread uses them: blocking, with time-outs, beside the event loop (decision 0008).

The front lends a connection while one request's body, or one large answer, passes. For that time the loop neither
reads it (``pause_reading``) nor writes it (its transport has nothing left to send); then the thread stops, ``close``
gives the connection back, and the loop goes on where the thread ended. A transport that changes the bytes (TLS) offers
its own ``Bulk``: ``get_extra_info("bulk")`` gives a callable that makes one; ``of`` asks for it.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from oci_wire.streams import Sink as Sink

_PIECE = 1024 * 1024  # bytes that the kernel is asked to send at once


class Bulk(Protocol):
    """One lent connection. One thread at a time uses it, and never waits long (``seconds``): so a thread that is to end
    looks for that itself, and slow clients wait on the event loop, not in a thread."""

    def fileno(self) -> int:
        """A descriptor that polls readable when ``recv_into`` may find bytes, writable when ``send_file`` may send;
        not the transport's own, so that the event loop's ``add_reader`` and ``add_writer`` take it."""
        ...

    def recv_into(self, view: memoryview, seconds: float) -> int:
        """Reads what is there, at most ``len(view)`` bytes (never 0); waits for it at most ``seconds`` (0: not at
        all). 0: the client is gone. Raises TimeoutError when nothing came."""
        ...

    def send_file(self, file: int, offset: int, count: int, seconds: float) -> int:
        """Sends bytes of a file; gives back how many went before the client took nothing for ``seconds``, so
        ``count`` unless it is slow. Raises OSError when the client is gone, EOFError when the file is too short."""
        ...

    def close(self) -> None:
        """Gives the connection back to the event loop. Nothing of it may be kept that the loop would miss."""
        ...


@runtime_checkable
class InBulk(Protocol):
    """A body (an ``AsyncIterator[bytes]``) that a thread can take instead of whoever iterates."""

    @property
    def bulky(self) -> bool:
        """Whether what is left of it is worth a thread, as far as can be told now."""
        ...

    async def feed(self, sink: Sink) -> None:
        """Gives all that is left to ``sink``, on a thread. Raises ClientGone once the sink has got what came, and what
        the sink raises: what is left then is dropped."""
        ...


class PlainBulk:
    """A duplicate of a plain socket. It stays non-blocking, as that is the connection's and not the duplicate's: so
    EAGAIN comes first and ``poll`` only then."""

    def __init__(self, sock: int) -> None:
        self._file = os.dup(sock)
        self._poll = select.poll()

    def fileno(self) -> int:
        return self._file

    def recv_into(self, view: memoryview, seconds: float) -> int:
        while True:
            try:
                return os.readv(self._file, [view])
            except BlockingIOError:
                if not self._ready(select.POLLIN, seconds):
                    raise TimeoutError("nothing came") from None
            except OSError:  # reset, or no way to the client any more
                return 0

    def send_file(self, file: int, offset: int, count: int, seconds: float) -> int:
        sent = 0
        while sent < count:
            try:
                piece = os.sendfile(self._file, file, offset + sent, min(count - sent, _PIECE))
            except BlockingIOError:
                if not self._ready(select.POLLOUT, seconds):
                    break
                continue
            if piece == 0:
                raise EOFError(f"{count - sent} bytes of the file are missing")
            sent += piece
        return sent

    def close(self) -> None:
        os.close(self._file)

    def _ready(self, event: int, seconds: float) -> bool:
        if seconds <= 0:
            return False
        self._poll.register(self._file, event)
        return bool(self._poll.poll(seconds * 1000))


def lendable(transport: asyncio.BaseTransport) -> bool:
    """Whether a thread can have this connection: it is plain, or its transport makes a ``Bulk`` itself."""
    return transport.get_extra_info("bulk") is not None or transport.get_extra_info("sslcontext") is None


def of(transport: asyncio.BaseTransport) -> Bulk:
    """A lendable connection for a thread. Raises OSError when it is closed or no descriptor is free."""
    own: Callable[[], Bulk] | None = transport.get_extra_info("bulk")
    return own() if own is not None else PlainBulk(transport.get_extra_info("socket").fileno())
