"""Prometheus metrics under the names that dashboards for distribution know, and one JSON line per request."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_BUNDLE, _BUNDLE_SECONDS = 200, 0.1
_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


@dataclass(frozen=True, slots=True)
class Observation:
    """One finished request. ``handler``: the endpoint's name, never a repository's (names would be without number)."""

    method: str
    handler: str
    status: int
    seconds: float
    received: int
    sent: int


class Metrics:
    """The counters of one node."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        labels = ("method", "code", "handler")
        self._requests = Counter("registry_http_requests", "Requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "registry_http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            ("method", "handler"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("registry_http_in_flight_requests", "Requests being answered", registry=self.registry)
        self._received = Counter("registry_http_request_size_bytes", "Body bytes received", registry=self.registry)
        self._sent = Counter("registry_http_response_size_bytes", "Body bytes sent", registry=self.registry)
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is scraped, e.g. bytes of storage."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def observe(self, seen: Observation) -> None:
        key = (seen.method, seen.handler, seen.status)
        children = self._children.get(key)
        if children is None:
            counter = self._requests.labels(seen.method, str(seen.status), seen.handler)
            children = self._children[key] = (counter, self._seconds.labels(seen.method, seen.handler))
        children[0].inc()
        children[1].observe(seen.seconds)
        if seen.received:
            self._received.inc(seen.received)
        if seen.sent:
            self._sent.inc(seen.sent)

    def render(self) -> tuple[str, bytes]:
        """Content type and body of ``/metrics``."""
        return CONTENT_TYPE_LATEST, generate_latest(self.registry)


class RequestLog:
    """One JSON line on stderr for each request, written in bundles: a write for each would cost more than the answer.

    A killed process loses at most ``_BUNDLE_SECONDS`` of it. Callers never hand in a secret, a header or a query."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, **fields: object) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_BUNDLE_SECONDS, self.flush)
        self._lines.append(_line(fields))
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
