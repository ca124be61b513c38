"""A TLS connection's bytes for a worker thread (bulk.py): OpenSSL works without the GIL, so that several transfers, and
the event loop beside them, share the processors.

The socket is read and written in pieces of many records; OpenSSL works on its memory buffers. What a thread leaves
in them is the event loop's again after ``close``.
"""

from __future__ import annotations

import os
import select
import ssl
from collections.abc import Callable
from typing import cast

RECORD = 16384  # bytes of plain text in the largest TLS record
_PIECE = 128 * 1024  # bytes between two system calls; a connection that is lent holds up to three times that


class TlsBulk:
    """A lent connection. ``given_back`` is called once, on the event loop, with bytes that have yet to be sent."""

    def __init__(
        self,
        sock: int,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        given_back: Callable[[memoryview], None],
    ) -> None:
        self._file = os.dup(sock)
        self._poll = select.poll()
        self._tls, self._incoming, self._outgoing, self._given_back = tls, incoming, outgoing, given_back
        self._unsent = memoryview(b"")
        self._buffer: memoryview | None = None
        self._signal: int | None = None  # an eventfd that is always readable
        self._ended = False  # the client said goodbye, or broke the protocol

    def fileno(self) -> int:
        """What came already and waits in memory makes no socket readable: then it is another descriptor."""
        if self._unsent or not self._waiting:
            return self._file
        if self._signal is None:
            self._signal = os.eventfd(1)
        return self._signal

    @property
    def _waiting(self) -> bool:
        return bool(self._incoming.pending or self._tls.pending())

    def recv_into(self, view: memoryview, seconds: float) -> int:
        """At most what one piece holds. 0 also after the client's goodbye, and when it breaks the protocol."""
        while True:
            count = self._decrypt(view)
            if count is not None:
                return count
            piece = self._receive(seconds)
            if not piece:
                return 0
            self._incoming.write(piece)

    def _decrypt(self, view: memoryview) -> int | None:
        """Bytes of plain text; None: more must come first."""
        filled, size, tls, incoming = 0, len(view), self._tls, self._incoming
        try:
            while filled < size and (incoming.pending or tls.pending()):
                count = cast(int, tls.read(size - filled, view[filled:]))  # with a buffer: how many
                if not count:
                    self._ended = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        except OSError:
            self._ended = True
        return filled if filled or self._ended else None

    def _receive(self, seconds: float) -> memoryview:
        """Bytes from the socket, none when the client is gone. Raises TimeoutError."""
        buffer = self._scratch()
        while True:
            try:
                return buffer[: os.readv(self._file, [buffer])]
            except BlockingIOError:
                if not self._ready(select.POLLIN, seconds):
                    break
            except OSError:
                return buffer[:0]
        raise TimeoutError("nothing came")

    def send_file(self, file: int, offset: int, count: int, seconds: float) -> int:
        """What was encrypted counts as sent: the rest of it goes first the next time, or from the event loop."""
        sent, buffer = 0, self._scratch()
        while sent < count and self._flushed(seconds):
            size = os.preadv(file, [buffer[: min(_PIECE, count - sent)]], offset + sent)
            if size == 0:
                raise EOFError(f"{count - sent} bytes of the file are missing")
            self._encrypt(buffer[:size])
            sent += size
        self._flushed(seconds)
        return sent

    def _encrypt(self, view: memoryview) -> None:
        write, position, size = self._tls.write, 0, len(view)
        try:
            while position < size:
                position += write(view[position:])  # all its records in one go without the GIL
        except ssl.SSLError as error:
            raise ConnectionAbortedError(f"TLS: {error.reason}") from None
        self._unsent = memoryview(self._outgoing.read())

    def _flushed(self, seconds: float) -> bool:
        """Sends what was encrypted. False: the client took nothing for so long. Raises OSError when it is gone."""
        while self._unsent:
            try:
                self._unsent = self._unsent[os.write(self._file, self._unsent) :]
            except BlockingIOError:
                if not self._ready(select.POLLOUT, seconds):
                    return False
        return True

    def _scratch(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_PIECE))
        return self._buffer

    def _ready(self, event: int, seconds: float) -> bool:
        if seconds <= 0:
            return False
        self._poll.register(self._file, event)
        return bool(self._poll.poll(seconds * 1000))

    def close(self) -> None:
        """On the event loop."""
        os.close(self._file)
        if self._signal is not None:
            os.close(self._signal)
        self._given_back(self._unsent)
