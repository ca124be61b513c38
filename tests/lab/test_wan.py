"""The lines of the WAN without any device: what a line does with a packet, and where packets go."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest

from tests.lab.places import NETWORKS, NETWORKS6
from tests.lab.wan import LONGEST_QUEUE, VIRTIO_HEADER, Line, Wan, site_of


def packet(target: str, size: int = 100) -> bytes:
    """An IPv4 packet of ``size`` bytes for a site, behind its virtio header."""
    address = bytes([*map(int, NETWORKS[target].split(".")), 1, 11])
    return bytes(VIRTIO_HEADER) + bytes([0x45]) + bytes(15) + address + bytes(size - 20)


def packet6(target: str) -> bytes:
    address = IPv6Address(f"{NETWORKS6[target]}::11").packed
    return bytes(VIRTIO_HEADER) + bytes([0x60]) + bytes(23) + address


def wan() -> tuple[Wan, list[tuple[str, int]]]:
    arrived: list[tuple[str, int]] = []
    return Wan(NETWORKS, lambda site, data: arrived.append((site, len(data) - VIRTIO_HEADER))), arrived


def test_a_packet_is_for_the_site_of_its_address() -> None:
    assert [site_of(packet(site)) for site in NETWORKS] == list(NETWORKS)
    assert site_of(packet("eu")[:20]) is None
    assert [site_of(packet6(site)) for site in NETWORKS6] == list(NETWORKS)
    assert site_of(packet6("eu")[:-1]) is None
    assert site_of(bytes(VIRTIO_HEADER) + bytes([0x60]) + bytes(60)) is None
    assert site_of(bytes(VIRTIO_HEADER)) is None


def test_delay_and_rate_add_up_and_packets_queue() -> None:
    line = Line(delay=0.045, rate=8e6)
    assert line.due(1000, 10.0, 0.5) == pytest.approx(10.046)
    assert line.due(1000, 10.0, 0.5) == pytest.approx(10.047)
    assert line.due(1000, 11.0, 0.5) == pytest.approx(11.046)


def test_a_queue_that_is_full_drops() -> None:
    line = Line(rate=8e6)
    sent = [line.due(10_000, 0.0, 0.5) for _ in range(100)]
    kept = [due for due in sent if due is not None]
    assert kept[-1] == pytest.approx(LONGEST_QUEUE, abs=0.02)
    assert sent[len(kept) :] == [None] * (100 - len(kept))


def test_loss_is_a_share_of_the_packets() -> None:
    line = Line(loss=0.25)
    assert [line.due(10, 0.0, chance) for chance in (0.0, 0.24, 0.25, 0.99)] == [None, None, 0.0, 0.0]


def test_packets_arrive_in_time_and_a_cut_line_loses_what_is_under_way() -> None:
    network, arrived = wan()
    network.order({"from": "eu", "to": "us", "delay": 0.1})
    network.take("eu", packet("us"), 1.0)
    assert network.deliver(1.05) == pytest.approx(0.05)
    assert arrived == []
    assert network.deliver(1.1) is None
    assert arrived == [("us", 100)]
    network.take("eu", packet("us"), 2.0)
    network.order({"from": "eu", "to": "us", "up": False})
    network.deliver(3.0)
    assert arrived == [("us", 100)]


def test_one_direction_is_cut_alone() -> None:
    network, arrived = wan()
    network.order({"from": "eu", "to": "us", "up": False})
    network.take("eu", packet("us"), 0.0)
    network.take("us", packet("eu"), 0.0)
    network.deliver(0.0)
    assert arrived == [("eu", 100)]


def test_a_line_cuts_itself_both_ways_when_it_has_carried_its_share() -> None:
    network, arrived = wan()
    network.order({"from": "operator", "to": "eu", "left": 250})
    for _ in range(4):
        network.take("operator", packet("eu"), 0.0)
        network.deliver(0.0)
    network.take("eu", packet("operator"), 0.0)
    network.deliver(0.0)
    assert arrived == [("eu", 100), ("eu", 100)]
    network.order({"from": "operator", "to": "eu", "left": None, "up": True})
    network.take("operator", packet("eu"), 0.0)
    network.deliver(0.0)
    assert len(arrived) == 3


def test_nothing_goes_back_to_where_it_came_from() -> None:
    network, arrived = wan()
    network.take("eu", packet("eu"), 0.0)
    assert network.deliver(0.0) is None
    assert arrived == []
