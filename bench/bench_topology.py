"""Loads and lints a large topology, and says how long it took: 2,000 nodes on 10,000 lines should take under 2 s.

python -m bench.bench_topology [--nodes 2000] [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

from topology.load import loads

NODES_OF_A_SCOPE = 4
HEAD = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: large}
sites:
  eu:
    hosts:
      eu-1: {failureDomain: a}
  us:
    hosts:
      us-1: {failureDomain: b}
users:
  ana: {password: {env: ANA}}
trust:
  key: {type: key, file: key.pub}
gates:
  signed: {type: signature, by: [key]}
"""


def large(nodes: int) -> str:
    """A topology of that many nodes, about five lines each, without a finding."""
    return HEAD + "\n".join(_lines(nodes // NODES_OF_A_SCOPE)) + "\n"


def _lines(scopes: int) -> Iterator[str]:
    yield "scopes:"
    for number in range(scopes):
        write = "promotion-only" if number % 10 else "open"
        yield f"  scope-{number}: {{class: {'prod' if number % 10 == 9 else 'ci'}, write: {write},"
        yield f"    grants: [{{to: ana, allow: [pull]}}], immutableTags: ['v{number}.*'],"
        yield "    cleanup: {every: 6h, keep: [{pushedWithin: 7d}]}}"
    yield "nodes:"
    for number in range(scopes * NODES_OF_A_SCOPE):
        site = "eu" if number % 2 else "us"
        yield f"  node-{number}: {{kind: local,"
        yield f"    scope: scope-{number // NODES_OF_A_SCOPE},"
        yield f"    role: {'replica' if number % NODES_OF_A_SCOPE else 'primary'},"
        yield f"    site: {site}, host: {site}-1, port: {10000 + number}}}"
    yield "promotions:"
    for number in range(scopes):
        if number % 10:
            yield f"  - {{id: edge-{number}, from: scope-{number - 1}, to: scope-{number}, by: [ana], gates: [signed]}}"
    yield "replications:"
    for number in range(scopes):
        first = number * NODES_OF_A_SCOPE
        targets = ", ".join(f"node-{first + each}" for each in range(1, NODES_OF_A_SCOPE))
        yield f"  - {{id: copies-{number}, from: node-{first}, to: [{targets}], on: event, reconcile: 10m}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    text = large(given.nodes)
    seconds, processor = [], []
    for _ in range(given.runs):
        began, used = time.perf_counter(), time.process_time()
        loaded = loads(text)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
        assert loaded.findings == (), loaded.findings[:3]
    lines = text.count("\n")
    took, of_it = statistics.median(seconds), statistics.median(processor)
    print(
        f"{given.nodes} nodes, {lines} lines: median {took:.2f} s (processor {of_it:.2f} s), worst {max(seconds):.2f} s"
    )


if __name__ == "__main__":
    main()
