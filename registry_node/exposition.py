"""The counts of a node in Prometheus' text format, under the names that dashboards for distribution know."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from registry_node import released
from registry_node.metrics import SECONDS, Family, Kind, Metrics, Tally

_BOUNDS = (*(str(each) for each in SECONDS), "+Inf")


def render(metrics: Metrics) -> tuple[str, bytes]:
    """Content type and body."""
    registry = CollectorRegistry()
    _Process(registry=registry)
    registry.register(_Counts(metrics))
    return CONTENT_TYPE_LATEST, generate_latest(registry)


_BOOTED = round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))  # Unix time, the same at every scrape


class _Process(ProcessCollector):
    """Also where /proc/stat is hidden (systemd.exec(5), ProcSubset=pid): without the time of the boot it says nothing."""

    def _boot_time(self) -> float:
        return float(_BOOTED)


class _Counts(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        tallies = {kind: tally for kind, tally in self._metrics.tallies.items() if tally.count}
        requests = CounterMetricFamily(
            "registry_http_requests", "Requests answered", labels=("method", "code", "handler")
        )
        for kind, tally in tallies.items():
            requests.add_metric((kind.method, str(kind.status), kind.handler), tally.count)
        yield requests
        yield _durations(tallies)
        for name, text, count in (
            (
                "registry_http_request_size_bytes",
                "Body bytes received",
                sum(each.received for each in tallies.values()),
            ),
            ("registry_http_response_size_bytes", "Body bytes sent", sum(each.sent for each in tallies.values())),
        ):
            yield CounterMetricFamily(name, text, value=count)
        build = GaugeMetricFamily("towpath_build_info", "1: what runs here", labels=("version", "release"))
        build.add_metric((released.version(), released.RELEASE), 1)
        yield build
        for name, (text, value) in self._metrics.gauges.items():
            yield GaugeMetricFamily(name, text, value=value())
        yield from map(_family, self._metrics.families)


def _family(told: Family) -> Metric:
    kind = CounterMetricFamily if told.counts else GaugeMetricFamily
    family = kind(told.name, told.text, labels=told.labels)
    for labels, value in told.values():
        family.add_metric(labels, value)
    return family


def _durations(tallies: Mapping[Kind, Tally]) -> Metric:
    """Whatever the status was."""
    alike: dict[tuple[str, str], list[Tally]] = defaultdict(list)
    for kind, tally in tallies.items():
        alike[kind.method, kind.handler].append(tally)
    family = HistogramMetricFamily(
        "registry_http_request_duration_seconds",
        "Time from a request's head to the end of its answer",
        labels=("method", "handler"),
    )
    for labels, same in alike.items():
        counts = accumulate(map(sum, zip(*(each.buckets for each in same), strict=True)))
        buckets = list(zip(_BOUNDS, counts, strict=True))
        family.add_metric(labels, buckets=buckets, sum_value=sum(each.seconds for each in same))
    return family
