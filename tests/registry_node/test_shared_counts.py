"""The counts of several processes as one: two places in one shared memory stand for two processes."""

from __future__ import annotations

import pytest

from registry_node.metrics import Kind, Metrics
from registry_node.shared_counts import Published, SharedCounts

GET = Kind("GET", "manifest", 200)


def counted(number: int, in_flight: float = 0.0, free: float = 0.0) -> Metrics:
    metrics = Metrics()
    for _ in range(number):
        metrics.tally(GET).add(0.002, sent=10, received=1)
    metrics.watch("registry_http_in_flight_requests", "now", lambda: in_flight)
    metrics.watch("registry_storage_free_bytes", "free", lambda: free)
    return metrics


def test_whoever_is_asked_tells_the_counts_of_all() -> None:
    counts = SharedCounts(3)
    first, second = counted(3, in_flight=1, free=100), counted(4, in_flight=2, free=90)
    for slot, metrics in enumerate((first, second)):
        Published(counts, slot, metrics).look()
    first.tally(GET).add(0.002, 10)  # its own count as it is now
    whole = first.whole()
    assert (whole.tallies[GET].count, whole.tallies[GET].sent, whole.tallies[GET].received) == (8, 80, 7)
    assert sum(whole.tallies[GET].buckets) == 8
    assert whole.tallies[GET].seconds == pytest.approx(0.016)
    assert {name: value() for name, (_, value) in whole.gauges.items()} == {
        "registry_http_in_flight_requests": 3,
        "registry_storage_free_bytes": 100,
    }
    text = first.render()[1].decode()
    assert 'registry_http_requests_total{code="200",handler="manifest",method="GET"} 8.0' in text
    assert first.tallies[GET].count == 4


def test_who_takes_a_dead_ones_place_goes_on_from_its_counts() -> None:
    counts = SharedCounts(2)
    Published(counts, 1, counted(5)).look()
    replacement = counted(1)
    Published(counts, 1, replacement).look()
    assert replacement.tallies[GET].count == 6
    other = counted(0)
    Published(counts, 0, other)
    assert other.whole().tallies[GET].count == 6


def test_one_that_died_while_it_wrote_is_left_out() -> None:
    counts = SharedCounts(2)
    Published(counts, 1, counted(5)).look()
    counts._numbers[counts._numbers.nbytes // 8 // 2] |= 1
    asked = counted(2)
    Published(counts, 0, asked)
    assert asked.whole().tallies[GET].count == 2
    Published(counts, 1, counted(3)).look()
    assert asked.whole().tallies[GET].count == 5


def test_more_than_there_is_room_for_leaves_the_older_counts() -> None:
    counts = SharedCounts(2)
    publishing = counted(1)
    published = Published(counts, 1, publishing)
    published.look()
    for number in range(5000):
        publishing.tally(Kind("GET", f"handler-{number}", 200)).add(0.1, 1)
    published.look()
    assert sum(tally.count for tally in counts.of_all(0, Metrics()).tallies.values()) == 1
