"""The node against distribution 3.1.2 and Debian's docker-registry 2.8.2, in one run on one machine.

    python -m bench [--rounds 5] [--seconds 3] [--megabytes 256] [--only WORDS]
    python -m bench --quick         # under a minute, distribution 3.1.2 alone, ends with one JSON line of the ratios

Rounds alternate between the registries; the table shows medians, ratios and the targets of the design, also the lines
that miss theirs. JSON goes to bench/results/ (git ignores it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench import apart, clients, proxies, rounds
from bench.content import Wanted, prepare
from bench.lines import LINES, Figures, table
from bench.peers import D2, D3, Peer, distribution, started, towpath

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(each, 1) for each in os.getloadavg()],
        "commit": _commit(),
    }


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()


def quick(figures: Figures, folder: Path) -> None:
    wanted = Wanted(repositories=50, tags=10, megabytes=64)
    starts = [
        partial(towpath, folder / "ours", wanted.names),
        partial(distribution, folder / "d3", D3),
    ]
    with started(starts) as peers:
        _fill(peers, wanted)
        for _ in range(3):
            for peer in peers:
                record = figures.of(peer.name)
                rounds.small_reads(peer, folder, record, seconds=1)
                rounds.large_reads(peer, record, at_once=(1, 4))
                rounds.uploads(peer, record, megabytes=64)
                rounds.reads_during_uploads(peer, folder, record, seconds=1, megabytes=64)


def whole(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    wanted = Wanted(megabytes=given.megabytes)
    parts = {
        "plain": lambda: plain(figures, folder / "plain", wanted, given),
        "processes": lambda: apart.processes(figures, folder / "processes", given),
        "tls": lambda: tls(figures, folder / "tls", wanted, given),
        "memory": lambda: apart.memory(figures, folder / "memory", given),
        "start": lambda: apart.start(figures, folder / "start", given),
        "tags": lambda: apart.many_tags(figures, folder / "tags", given),
        "clients": lambda: clients.clients(figures, folder / "clients", given),
        "postgresql": lambda: apart.postgresql(figures, folder / "postgresql", given),
        "mirror": lambda: proxies.mirror(figures, folder / "mirror", given),
        "virtual": lambda: proxies.virtual(figures, folder / "virtual", given),
    }
    for name, part in parts.items():
        if given.only and name not in given.only:
            continue
        began = time.monotonic()
        (folder / name).mkdir()
        part()
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def plain(figures: Figures, folder: Path, wanted: Wanted, given: argparse.Namespace) -> None:
    starts = [
        partial(towpath, folder / "ours", wanted.names),
        partial(distribution, folder / "d3", D3),
        partial(distribution, folder / "d2", D2),
    ]
    with started(starts) as peers:
        _fill(peers, wanted)
        for _ in range(given.rounds):
            for peer in peers:
                record = figures.of(peer.name)
                rounds.small_reads(peer, folder, record, seconds=given.seconds)
                rounds.large_reads(peer, record, at_once=(1, 4, 32))
                rounds.uploads(peer, record, megabytes=given.megabytes)
                rounds.reads_during_uploads(peer, folder, record, seconds=given.seconds, megabytes=given.megabytes)
                rounds.small_pushes(peer, wanted.names, record, seconds=given.seconds)


def tls(figures: Figures, folder: Path, wanted: Wanted, given: argparse.Namespace) -> None:
    small = Wanted(repositories=50, tags=20, megabytes=wanted.megabytes)
    starts = [
        partial(towpath, folder / "ours", small.names, tls=True),
        partial(distribution, folder / "d3", D3, tls=True),
        partial(distribution, folder / "d2", D2, tls=True),
    ]
    with started(starts) as peers:
        _fill(peers, small)
        for _ in range(given.rounds):
            for peer in peers:
                rounds.over_tls(peer, folder, figures.of(peer.name), seconds=given.seconds, megabytes=given.megabytes)


def _fill(peers: list[Peer], wanted: Wanted) -> None:
    """All at once: nothing is measured yet."""
    began = time.monotonic()

    def one(peer: Peer) -> None:
        with peer.client() as client:
            peer.content = prepare(client, wanted)
        print(f"filled {peer.name} in {time.monotonic() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(len(peers)) as threads:
        list(threads.map(one, peers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--megabytes", type=int, default=256, help="of a large blob")
    parser.add_argument(
        "--only",
        action="append",
        help="plain, processes, tls, memory, start, tags, clients, postgresql, mirror, virtual",
    )
    given = parser.parse_args()
    figures, before = Figures(), machine()
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as name:
        (quick(figures, Path(name)) if given.quick else whole(figures, Path(name), given))
    lines = [line for line in LINES.values() if line.quick or not given.quick]
    print(f"\n{table(figures, lines)}\n\n{before}")
    report = {
        "machine": before,
        "ratios": {line.name: _rounded(figures.ratio(line.name)) for line in lines},
        "targets": {line.name: line.target for line in lines},
        "values": figures.values,
    }
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / f"{'quick' if given.quick else 'bench'}-{time.strftime('%Y%m%dT%H%M%S')}.json"
    out.write_text(json.dumps(report, indent=2))
    print(json.dumps(report["ratios"]) if given.quick else out)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


if __name__ == "__main__":
    main()
