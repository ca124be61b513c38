"""While one node restarts, enough of its scope's other nodes serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.rollout.promises import promise_of
from topology.load import loads
from topology.model import Topology

TEXT = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: promises}
sites:
  eu: {hosts: {eu-1: {failureDomain: a}, eu-2: {failureDomain: b}}}
  us: {hosts: {us-1: {failureDomain: a}}}
slas: {gold: {availability: 99.9, minFailureDomains: DOMAINS}}
scopes:
  prod: {class: prod, sla: gold, write: promotion-only}
  dev: {class: dev}
nodes:
  p1: {kind: local, scope: prod, role: primary, site: eu, host: eu-1, port: 1}
  p2: {kind: local, scope: prod, role: replica, site: eu, host: eu-2, port: 1}
  p3: {kind: local, scope: prod, role: replica, site: us, host: us-1, port: 1}
  d1: {kind: local, scope: dev, site: eu, host: eu-1, port: 2}
  v1: {kind: virtual, site: eu, host: eu-1, port: 3, members: [p1], unmatched: members}
"""


def declared(domains: int) -> Topology:
    loaded = loads(TEXT.replace("DOMAINS", str(domains)), base=Path(), rules=False)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


@pytest.mark.parametrize(
    ("domains", "serving", "missing"),
    [
        (1, ["p2"], 0),
        (1, [], 1),
        (2, ["p3"], 0),
        (3, ["p2"], 1),
        (3, ["p2", "p3"], 0),
        (9, ["p2", "p3"], 0),  # no more than there are
        (3, ["d1", "p3"], 1),
    ],
)
def test_domains_that_must_serve(domains: int, serving: list[str], missing: int) -> None:
    promise = promise_of(declared(domains), "p1")
    assert promise is not None
    assert promise.missing(serving) == missing


@pytest.mark.parametrize("node", ["d1", "v1"])
def test_a_node_that_stands_alone_promises_nothing(node: str) -> None:
    assert promise_of(declared(2), node) is None
