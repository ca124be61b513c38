"""What a node tells the one who supervises it (sd_notify(3)): that it serves, that it lives, that it is ending.

A datagram to the socket in ``$NOTIFY_SOCKET``; without one, nothing is said. Never raises: a node serves as well when
nobody listens.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def tell(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as opened:
        opened.sendto(state.encode(), address)


class Heartbeat:
    """Told once a second from the loop that serves: a loop that hangs is seen (systemd.service(5), WatchdogSec)."""

    def look(self) -> None:
        tell(ALIVE)

    def reload(self) -> None:
        """SIGHUP is nothing to it."""


def watched() -> bool:
    """Whether somebody waits for a heartbeat."""
    return bool(os.environ.get("WATCHDOG_USEC") and os.environ.get("NOTIFY_SOCKET"))
