"""A proxy before a real registry: counts what is asked for, by object, and can be slow, cut, or gone.

Only the heads of requests are read; answers pass as they are, so that the proxy costs next to nothing. It is for
clients that send no bodies through it (pulls): a registry is filled directly.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from typing import Self

from tests.upstreams.holdings import Route

_PIECE = 256 * 1024


class CountingProxy:
    """``url`` stands for ``upstream`` (host:port). Every connection has a thread for each direction.

    ``delay``: seconds before a request goes on. ``bytes_per_second``: of all answers together, or None.
    ``cut_after``: bytes of answers after which the next connection is cut, once."""

    def __init__(self, upstream: str, *, address: str = "127.0.0.1") -> None:
        name, _, port = upstream.rpartition(":")
        self._upstream, self._address, self._port = (name, int(port)), address, 0
        self.requests: list[str] = []
        self.delay = 0.0
        self.bytes_per_second: float | None = None
        self.cut_after: int | None = None
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._free = 0.0  # when the line is free again

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def host(self) -> str:
        return f"{self._address}:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> None:
        """Also again, on the same port, after ``stop``."""
        listener = socket.create_server((self._address, self._port), backlog=256, reuse_port=False)
        self._listener, self._port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="counting proxy").start()

    def stop(self) -> None:
        """The outage: connections are cut, new ones refused."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def objects(self, *methods: str) -> Counter[str]:
        """How often each manifest and blob was asked for: ``repository kind reference``; GETs unless told otherwise."""
        found: Counter[str] = Counter()
        for line in self.requests:
            method, _, path = line.partition(" ")
            route = Route.of(path[path.find("/v2/") :].partition("?")[0])
            if route is not None and method in (methods or ("GET",)):
                found[f"{route.repository} {route.kind} {route.reference}"] += 1
        return found

    def forget(self) -> None:
        """Counts from here on."""
        self.requests.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=30)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with client, server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                self._requests(client, server)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        left = b""
        while piece := client.recv(65536):
            left += piece
            while b"\r\n\r\n" in left:
                head, _, left = left.partition(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                self.requests.append(f"{method} {target}")
                if self.delay:
                    time.sleep(self.delay)
                server.sendall(head + b"\r\n\r\n")

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        buffer, passed = bytearray(_PIECE), 0
        limit, self.cut_after = self.cut_after, None
        with contextlib.suppress(OSError):
            while count := server.recv_into(buffer):
                if limit is not None and passed + count > limit:
                    client.sendall(memoryview(buffer)[: limit - passed])
                    break
                client.sendall(memoryview(buffer)[:count])
                passed += count
                self._wait_for_the_line(count)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _wait_for_the_line(self, count: int) -> None:
        if self.bytes_per_second:
            with self._lock:
                now = time.monotonic()
                self._free = max(self._free, now) + count / self.bytes_per_second
                early = self._free - now
            time.sleep(early)
