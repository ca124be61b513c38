"""The counts of a node that runs as several processes: whichever of them is scraped tells those of all.

Each process writes its own into its part of a memory that they share, once a second; the one that is asked adds the
others'. A process that takes a dead one's place goes on from that one's counts, so a counter never falls.

A part begins with a number that is odd while it is being written, then the length of what follows: a reader that meets
an odd number, or another one afterwards, looks again (a seqlock).
"""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Iterator
from typing import Any

from registry_node.metrics import Kind, Metrics, Tally

_PART = 256 * 1024  # bytes for one process: some thousand kinds of answer
_HEAD = 2  # numbers of 8 bytes
_LOOKS = 50
_SUMMED = frozenset(("registry_http_in_flight_requests",))  # of other gauges the largest counts


class SharedCounts:
    """Made by the parent, before there are workers."""

    def __init__(self, processes: int) -> None:
        self._memory = mmap.mmap(-1, processes * _PART)
        self._numbers = memoryview(self._memory).cast("Q")
        self._processes = processes

    def publish(self, slot: int, metrics: Metrics) -> None:
        content = _told(metrics)
        if len(content) > _PART - _HEAD * 8:
            return  # what stood there before goes on to count
        first = slot * _PART // 8
        self._numbers[first] |= 1
        self._numbers[first + 1] = len(content)
        start = slot * _PART + _HEAD * 8
        self._memory[start : start + len(content)] = content
        self._numbers[first] += 1

    def resume(self, slot: int, metrics: Metrics) -> None:
        """Begins with the counts that this place has by now."""
        for kind, tally in _heard(self._part(slot))[0]:
            _add(metrics.tally(kind), tally)

    def of_all(self, slot: int, own: Metrics) -> Metrics:
        """The counts of all processes; ``own`` as they are now."""
        whole = Metrics()
        gauges = {name: [value()] for name, (_, value) in own.gauges.items()}
        for kind, tally in list(own.tallies.items()):
            _add(whole.tally(kind), tally)
        for other in set(range(self._processes)) - {slot}:
            tallies, theirs = _heard(self._part(other))
            for kind, tally in tallies:
                _add(whole.tally(kind), tally)
            for name, value in theirs.items():
                gauges.setdefault(name, []).append(value)
        for name, (text, _) in own.gauges.items():
            total = sum(gauges[name]) if name in _SUMMED else max(gauges[name])
            whole.watch(name, text, lambda total=total: total)  # type: ignore[misc]
        return whole

    def _part(self, slot: int) -> bytes:
        """Nothing when its process died while it wrote."""
        first, start = slot * _PART // 8, slot * _PART + _HEAD * 8
        for _ in range(_LOOKS):
            number = self._numbers[first]
            content = bytes(self._memory[start : start + min(self._numbers[first + 1], _PART - _HEAD * 8)])
            if not number & 1 and number == self._numbers[first]:
                return content
            time.sleep(0)
        return b""


class Published:
    """Lets the others know, once a second (server.py)."""

    def __init__(self, counts: SharedCounts, slot: int, metrics: Metrics) -> None:
        self._counts, self._slot, self._metrics = counts, slot, metrics
        counts.resume(slot, metrics)
        metrics.whole = lambda: counts.of_all(slot, metrics)

    def look(self) -> None:
        self._counts.publish(self._slot, self._metrics)

    def reload(self) -> None:
        self.look()


def _told(metrics: Metrics) -> bytes:
    tallies = [
        (*kind, tally.count, tally.seconds, tally.received, tally.sent, tally.buckets)
        for kind, tally in metrics.tallies.items()
    ]
    return json.dumps([tallies, {name: value() for name, (_, value) in metrics.gauges.items()}]).encode()


def _heard(content: bytes) -> tuple[list[tuple[Kind, Tally]], dict[str, float]]:
    tallies, gauges = json.loads(content or b"[[], {}]")
    return list(_tallies(tallies)), gauges


def _tallies(rows: list[Any]) -> Iterator[tuple[Kind, Tally]]:
    for method, handler, status, count, seconds, received, sent, buckets in rows:
        tally = Tally()
        tally.count, tally.seconds, tally.received, tally.sent, tally.buckets = count, seconds, received, sent, buckets
        yield Kind(method, handler, status), tally


def _add(to: Tally, more: Tally) -> None:
    to.count += more.count
    to.seconds += more.seconds
    to.received += more.received
    to.sent += more.sent
    to.buckets = [a + b for a, b in zip(to.buckets, more.buckets, strict=True)]
