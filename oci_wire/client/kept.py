"""Idle connections that carried a long body past the HTTP parser (long_bodies.py).

The parser of such a connection never learns that its answer has ended, so httpcore closes it, and each layer of an image
would cost a handshake. Here the socket waits for whoever connects to that host and port next.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from oci_wire.client.sockets import SocketStream

KEPT_SECONDS = 30.0
Place = tuple[str, int]  # host as it was asked for, port


class KeptConnections:
    """Belongs to one event loop. ``most``: of all places together; the oldest ones go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: deque[tuple[float, Place, SocketStream]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, place: Place, stream: SocketStream) -> None:
        self._idle.append((time.monotonic() + KEPT_SECONDS, place, stream))
        self._drop_old()

    def take(self, place: Place) -> SocketStream | None:
        """The one that was used last, if the other side has not ended it."""
        for entry in reversed([each for each in self._idle if each[1] == place]):
            self._idle.remove(entry)
            if not entry[2].get_extra_info("is_readable"):
                return entry[2]
            entry[2].drop()
        return None

    def close(self) -> None:
        """For good."""
        self._most = 0
        while self._idle:
            self._idle.popleft()[2].drop()
        if self._timer is not None:
            self._timer.cancel()

    def _drop_old(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        while self._idle and (len(self._idle) > self._most or self._idle[0][0] <= now):
            self._idle.popleft()[2].drop()
        if self._idle:
            self._timer = asyncio.get_running_loop().call_later(self._idle[0][0] - now, self._drop_old)
