"""The lines between the sites: a process that carries IP packets between TUN devices, with delay, rate, loss and cuts.

Kernels of small machines have no netem. Segments stay as large as TCP made them (``IFF_VNET_HDR``), so that 200 Mbit/s are
a few hundred packets a second, and Python keeps up.

    python -m tests.lab.wan eu us operator      one device ``wan-SITE`` each; orders are JSON lines on stdin:
    {"from": "eu", "to": "us", "delay": 0.045, "rate": 2e8, "loss": 0.0, "up": true, "left": null}
"""

from __future__ import annotations

import fcntl
import heapq
import ipaddress
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count, permutations

from tests.lab.places import NETWORKS, NETWORKS6

# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
VIRTIO_HEADER = 10
LARGEST = 65536 + VIRTIO_HEADER
# What a router keeps waiting before a slow line, in seconds of that line; more is dropped.
LONGEST_QUEUE = 0.25


@dataclass
class Line:
    """One direction between two sites. ``delay`` in seconds, ``rate`` in bits a second (0: as fast as it goes), ``loss`` as
    a share; ``left``: bytes that it still carries before it goes down, None for ever."""

    delay: float = 0.0
    rate: float = 0.0
    loss: float = 0.0
    up: bool = True
    left: int | None = None
    free_at: float = 0.0

    def due(self, size: int, now: float, chance: float) -> float | None:
        """When a packet of ``size`` bytes that came ``now`` gets to the other end; None: never. ``chance`` is in [0, 1)."""
        if not self.up or chance < self.loss or self.free_at - now > LONGEST_QUEUE:
            return None
        if self.left is not None:
            self.left -= size
            if self.left <= 0:
                self.up = False
                return None
        if self.rate:
            self.free_at = max(self.free_at, now) + size * 8 / self.rate
            return self.free_at + self.delay
        return now + self.delay


def site_of(packet: bytes) -> str | None:
    """The site that an IP packet, behind its virtio header, is for; None: nobody's."""
    packet = packet[VIRTIO_HEADER : VIRTIO_HEADER + 40]
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:  # RFC 791: the destination is bytes 16 to 20
        return _SITES.get(packet[16:18])
    return _SITES.get(packet[24:28]) if version == 6 and len(packet) == 40 else None  # RFC 8200: 24 to 40


_SITES = {bytes(map(int, network.split("."))): site for site, network in NETWORKS.items()}
_SITES |= {ipaddress.IPv6Address(f"{network}::").packed[:4]: site for site, network in NETWORKS6.items()}


class Wan:
    """Lines between all pairs of sites; ``send(site, packet)`` hands a packet over at the far end."""

    def __init__(self, sites: Iterable[str], send: Callable[[str, bytes], None]) -> None:
        self.lines = {pair: Line() for pair in permutations(sites, 2)}
        self._send = send
        self._waiting: list[tuple[float, int, tuple[str, str], bytes]] = []
        self._number = count()

    def order(self, order: dict[str, object]) -> None:
        pair = (str(order.pop("from")), str(order.pop("to")))
        self.lines[pair] = replace(self.lines[pair], **order, free_at=0.0)  # type: ignore[arg-type]

    def take(self, source: str, packet: bytes, now: float) -> None:
        """A packet has come out of a site."""
        target = site_of(packet)
        line = self.lines.get((source, target)) if target else None
        if line is None:
            return
        due = line.due(len(packet) - VIRTIO_HEADER, now, random.random())
        if due is not None:
            heapq.heappush(self._waiting, (due, next(self._number), (source, str(target)), packet))
        elif line.left is not None and line.left <= 0:
            self.lines[str(target), source].up = False  # a line that has carried its share is cut both ways

    def deliver(self, now: float) -> float | None:
        """Hands over what is due; seconds until the next packet, None when there is none."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, pair, packet = heapq.heappop(self._waiting)
            if self.lines[pair].up:
                self._send(pair[1], packet)
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def open_tun(name: str) -> int:
    """A TUN device of this network namespace; it goes when the descriptor is closed, wherever it was moved."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
    return device


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:
        return  # the device is down or its queue is full: a packet lost, as packets are


def _read_all(device: int) -> Iterable[bytes]:
    for _ in range(64):
        try:
            yield os.read(device, LARGEST)
        except OSError:
            return


def serve(sites: list[str]) -> None:
    devices = {site: open_tun(f"wan-{site}") for site in sites}
    wan = Wan(sites, lambda site, packet: _write(devices[site], packet))
    names = {device: site for site, device in devices.items()}
    print("ready", flush=True)
    orders, wait = b"", None
    while True:
        readable, _, _ = select.select([0, *names], [], [], wait)
        for each in readable:
            if each:
                for packet in _read_all(each):
                    wan.take(names[each], packet, time.monotonic())
                continue
            more = os.read(0, 65536)
            if not more:
                return
            *lines, orders = (orders + more).split(b"\n")
            for line in lines:
                wan.order(json.loads(line))
                print("done", flush=True)
        wait = wan.deliver(time.monotonic())


if __name__ == "__main__":
    serve(sys.argv[1:])
