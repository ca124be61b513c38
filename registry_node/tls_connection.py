"""TLS between a TCP transport and a protocol that sees plain bytes; to that protocol this is the transport.

Why not uvloop's own: there the keys stay inside, and so a bulk transfer could not leave the event loop (decision 0009).
The handshake has its own limit of time and nobody waits for it. Plain HTTP on this port gets a 400 that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from oci_wire.errors import RequestInvalid, to_json
from registry_node.connections import Connections
from registry_node.tls_bulk import RECORD, TlsBulk
from registry_node.tls_certificate import Certificates

_HANDSHAKE = 22  # the first byte of a TLS connection (RFC 8446 section 5.1)


def tls_front_of(
    front: Callable[[Connections], asyncio.Protocol], certificates: Certificates, handshake_seconds: float
) -> Callable[[Connections], TlsConnection]:
    """What makes each connection, in the place of ``front``, which then sees what was decrypted."""
    return partial(TlsConnection, front, certificates, handshake_seconds)


class TlsConnection(asyncio.Protocol):
    """One connection. The inner protocol learns of it when the handshake is done."""

    def __init__(
        self,
        front: Callable[[Connections], asyncio.Protocol],
        certificates: Certificates,
        handshake_seconds: float,
        connections: Connections,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._inner = front(connections)
        self._connections, self._certificates, self._seconds = connections, certificates, handshake_seconds
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._established = self._reading_paused = self._closing = False
        self._begun = self._lent = self._deaf = False

    # What TCP says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._context = self._certificates.context
        self._object = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._connections.opened(self)  # so that it ends with the server
        self._timer = self._loop.call_later(self._seconds, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._timer.cancel()
        self._connections.closed(self)
        if self._established:
            self._inner.connection_lost(exc)
        else:
            self._certificates.handshakes_failed += 1

    def data_received(self, data: bytes) -> None:
        if self._closing or self._deaf:
            return
        if not self._begun:
            self._begun = True
            if data[0] != _HANDSHAKE:
                self._refuse_plain(data)
                return
        self._incoming.write(data)
        if self._established:
            self._decrypt()
        else:
            self._shake_hands()

    def eof_received(self) -> bool | None:
        """Without a goodbye in TLS: as for the front, whoever closes one half is gone."""
        return None

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def shutdown(self) -> None:
        """The server ends, in the middle of a handshake."""
        self.abort()

    # TLS

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except OSError:  # ssl.SSLError among them
            self._flush()  # the alert that says why
            self._tcp.close()
            return
        self._established = True
        self._timer.cancel()
        self._flush()
        self._connections.closed(self)  # the front is there from now on
        self._inner.connection_made(cast(asyncio.Transport, self))  # all of it that a front uses
        self._decrypt()

    def _decrypt(self) -> None:
        """Hands on what has come, record by record, for as long as it is wanted."""
        if self._lent:
            return
        tls, incoming = self._object, self._incoming
        while (incoming.pending or tls.pending()) and not (self._reading_paused or self._closing):
            try:
                plain = tls.read(RECORD)
            except ssl.SSLWantReadError:
                break
            except OSError:
                self.abort()
                return
            if not plain:  # the client said goodbye
                self._tcp.close()
                return
            self._inner.data_received(plain)
        if self._outgoing.pending:
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._tcp.is_closing():
            self._tcp.write(self._outgoing.read())

    def _refuse_plain(self, data: bytes) -> None:
        if data[:1].isalpha():
            body = to_json(RequestInvalid("this port speaks TLS: ask with https://"))
            head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            self._tcp.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        self._tcp.close()

    # The transport of the inner protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own = {"sslcontext": self._context, "ssl_object": self._object, "bulk": self._lend}
        return own[name] if name in own else self._tcp.get_extra_info(name, default)

    def write(self, content: bytes) -> None:
        assert not self._lent, "a thread has this connection"
        view = memoryview(content)
        try:
            while view:
                view = view[self._object.write(view[:RECORD]) :]
        except OSError:
            self.abort()
            return
        self._flush()

    def pause_reading(self) -> None:
        self._reading_paused = True
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """What has come already is handed on after the caller is done."""
        self._reading_paused = False
        self._tcp.resume_reading()
        self._loop.call_soon(self._decrypt)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Says goodbye; what the client still sends is read, so that it gets there, and dropped."""
        self._deaf = True
        self._say_goodbye()
        self._tcp.write_eof()

    def is_closing(self) -> bool:
        return self._closing or self._tcp.is_closing()

    def close(self) -> None:
        """Sends what was written, says goodbye, and ends."""
        if self._closing:
            return
        if self._lent:
            self.abort()
            return
        self._closing = True
        if not self._deaf:
            self._say_goodbye()
        self._tcp.close()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(OSError):  # the client's own is not waited for
            self._object.unwrap()
        self._flush()

    def abort(self) -> None:
        self._closing = True
        self._tcp.abort()

    # Transfers on a thread

    def _lend(self) -> TlsBulk:
        """For a while nobody else touches the keys: the front has stopped reading, and has nothing left to write."""
        sock = self._tcp.get_extra_info("socket").fileno()
        bulk = TlsBulk(sock, self._object, self._incoming, self._outgoing, self._take_back)
        self._lent = True
        return bulk

    def _take_back(self, unsent: memoryview) -> None:
        self._lent = False
        if unsent and not self._tcp.is_closing():
            self._tcp.write(unsent)
        self._flush()
