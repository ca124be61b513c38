"""What is counted of every request, and one JSON line for each. Prometheus reads the counts in exposition.py.

Counts are plain numbers, one ``Tally`` for each kind of answer: an answer of the short way costs less than a counter
of prometheus_client.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

_BUNDLE, _BUNDLE_SECONDS = 200, 0.1
quoted = json.encoder.encode_basestring_ascii  # a text as JSON in ASCII, without an encoder around it
SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)  # upper bounds of the histogram


class Kind(NamedTuple):
    """``handler``: the endpoint's name, never a repository's (names would be without number)."""

    method: str
    handler: str
    status: int


class Tally:
    """All answers of one kind: how many, their time in seconds, their bytes of body. ``buckets``: how many took at
    most so long as the bound of that place (the last: longer than all)."""

    __slots__ = ("buckets", "count", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0
        self.received = self.sent = 0
        self.buckets = [0] * (len(SECONDS) + 1)

    def add(self, seconds: float, sent: int, received: int = 0) -> None:
        self.count += 1
        self.seconds += seconds
        self.sent += sent
        self.received += received
        self.buckets[bisect_left(SECONDS, seconds)] += 1


class Family(NamedTuple):
    """A gauge, or a counter, for each value of its labels. ``values`` is asked when somebody scrapes."""

    name: str
    text: str
    labels: tuple[str, ...]
    values: Callable[[], Iterable[tuple[tuple[str, ...], float]]]
    counts: bool = True  # it only grows


class Metrics:
    """The counts of one node. ``gauges``: name -> what it is and how to read it, when somebody asks; ``families``: of
    nodes that are one process."""

    def __init__(self) -> None:
        self.tallies: dict[Kind, Tally] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.families: list[Family] = []
        self.whole: Callable[[], Metrics] = lambda: self  # of all processes (shared_counts.py)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is scraped, e.g. bytes of storage."""
        self.gauges[name] = (text, value)

    def tally(self, kind: Kind) -> Tally:
        found = self.tallies.get(kind)
        if found is None:
            found = self.tallies[kind] = Tally()
        return found

    def render(self) -> tuple[str, bytes]:
        """Content type and body of ``/metrics``."""
        from registry_node import exposition  # noqa: PLC0415 - prometheus_client is loaded when somebody scrapes

        return exposition.render(self.whole())


class RequestLog:
    """One JSON line on stderr for each request, written in bundles: a write for each would cost more than the answer.

    A killed process loses at most ``_BUNDLE_SECONDS`` of it. Callers never hand in a secret, a header or a query."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, **fields: object) -> None:
        self.append(_line(fields))

    def append(self, line: str) -> None:
        """A whole line, its end included."""
        if not self._lines:
            asyncio.get_running_loop().call_later(_BUNDLE_SECONDS, self.flush)
        self._lines.append(line)
        if len(self._lines) >= _BUNDLE:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()


def write_line(**fields: object) -> None:
    """One JSON line on stderr, at once."""
    sys.stderr.write(_line(fields))
    sys.stderr.flush()


def _line(fields: dict[str, object]) -> str:
    return json.dumps({"time": round(time.time(), 3), **fields}, ensure_ascii=True, default=str) + "\n"
