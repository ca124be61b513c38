"""Connections of the HTTP client as plain non-blocking sockets: one read gives what has come, up to what is asked for.

httpcore's own stand on streams that hand out 64 KiB at a time and cost more CPU than the SHA-256 of what they carry.
TLS is the ssl module's over the same socket: a read gathers the records (16 KiB) that are there. A thread may read
instead of the event loop (``receive_into``), for as long as nobody else does.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import httpcore

T = TypeVar("T")
_RECORD = 16 * 1024
_SLICE = 256 * 1024  # of a write
_NOT_YET = (BlockingIOError, InterruptedError)


class SocketStream(httpcore.AsyncNetworkStream):
    """Owns a connected, non-blocking socket. One reader and one writer at a time.

    ``keep`` takes the socket, as another stream (``kept``), when this one is closed after an answer was read past the
    parser."""

    def __init__(
        self, connection: socket.socket, keep: Callable[[SocketStream], None] | None = None, *, kept: bool = False
    ) -> None:
        self._socket, self._keep, self.kept = connection, keep, kept
        self._reusable = self._closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """At least one byte; none at the end. Raises httpcore's ReadTimeout and ReadError."""
        try:
            return await self._done(lambda: self._received(max_bytes), timeout, reading=True)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except ssl.SSLEOFError:
            return b""
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = memoryview(buffer)
        try:
            while left:
                sent = await self._done(partial(self._socket.send, left[:_SLICE]), timeout, reading=False)
                left = left[sent:]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def answered(self) -> None:
        """The last answer was read to its end, and the connection may carry another one."""
        self._reusable = True

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reusable and self._keep is not None:
            self._keep(SocketStream(self._socket, self._keep, kept=True))
        else:
            self._socket.close()

    def drop(self) -> None:
        """Closes for good."""
        self._closed = True
        self._socket.close()

    async def until_readable(self, timeout: float | None = None) -> None:
        """Raises as ``read`` does."""
        try:
            await self._ready(timeout, reading=True)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def receive_into(self, view: memoryview, seconds: float) -> int:
        """For a thread, which has the connection to itself: what is there, waiting for it at most so long, also when
        parts of a TLS record come meanwhile. 0: the other side has ended. Raises TimeoutError, OSError."""
        until = time.monotonic() + seconds
        while True:
            event = select.POLLIN
            try:
                return self._socket.recv_into(view)
            except ssl.SSLEOFError:
                return 0
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except (ssl.SSLWantReadError, *_NOT_YET):
                pass
            left = until - time.monotonic()
            if left <= 0 or not _polled(self._socket, event, left):
                raise TimeoutError("nothing came")

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Raises httpcore's ConnectTimeout and ConnectError, its cause ssl's when the certificate is not trusted. One
        that was kept is encrypted already, to that very host; any other one gets no second layer."""
        if isinstance(self._socket, ssl.SSLSocket):
            if self.kept:
                return self
            self._socket.close()
            raise httpcore.ConnectError("TLS within TLS is not spoken")
        try:
            wrapped = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._socket = wrapped
            await self._done(wrapped.do_handshake, timeout, reading=True)
        except BaseException as error:
            self._socket.close()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "is_readable":
                return _is_readable(self._socket)
            case "socket":
                return self._socket
            case "ssl_object":
                return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
        return None

    def _received(self, most: int) -> bytes:
        if not isinstance(self._socket, ssl.SSLSocket):
            return self._socket.recv(most)
        gathered = bytearray(self._socket.recv(min(most, _RECORD)))
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError, OSError):  # met again by the next read
            while gathered and len(gathered) < most:
                record = self._socket.recv(min(most - len(gathered), _RECORD))
                if not record:
                    break
                gathered += record
        return bytes(gathered)

    async def _done(self, attempt: Callable[[], T], seconds: float | None, *, reading: bool) -> T:
        """What the attempt gives once the socket lets it. Raises TimeoutError, OSError."""
        while True:
            wait_to_read = reading
            try:
                return attempt()
            except ssl.SSLWantReadError:
                wait_to_read = True
            except ssl.SSLWantWriteError:
                wait_to_read = False
            except _NOT_YET:
                pass
            await self._ready(seconds, reading=wait_to_read)

    async def _ready(self, seconds: float | None, *, reading: bool) -> None:
        loop, number = asyncio.get_running_loop(), self._socket.fileno()
        if number < 0:
            raise OSError("the connection is closed")
        woken: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
        add(number, _wake, woken)
        try:
            async with asyncio.timeout(seconds):
                await woken
        finally:
            remove(number)


async def connect(
    address: str,
    port: int,
    timeout: float | None,
    options: Iterable[httpcore.SOCKET_OPTION] | None,
    keep: Callable[[SocketStream], None] | None = None,
) -> SocketStream:
    """To an IP address. Raises httpcore's ConnectTimeout and ConnectError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in options or ():
            connection.setsockopt(*option)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise httpcore.ConnectTimeout(f"{address} did not accept a connection in time") from error
        if isinstance(error, OSError):
            raise httpcore.ConnectError(str(error)) from error
        raise
    return SocketStream(connection, keep)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _is_readable(connection: socket.socket) -> bool:
    """Whether an idle connection has something to say: it has ended, or is of no more use."""
    if connection.fileno() < 0:
        return True
    decrypted = connection.pending() if isinstance(connection, ssl.SSLSocket) else 0  # poll does not see it
    return decrypted > 0 or _polled(connection, select.POLLIN, 0)


def _polled(connection: socket.socket, event: int, seconds: float) -> bool:
    """Whether it happens within this time."""
    watch = select.poll()
    watch.register(connection.fileno(), event)
    return bool(watch.poll(seconds * 1000))
