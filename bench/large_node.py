"""A node with a million tags beside one with a hundred: start, first page of tags, a manifest.

    python -m bench.large_node [--folder FOLDER] [--tags 1000000] [--rounds 5]

``--folder`` keeps the data for the next run (the large one takes a minute to fill and 0.8 GB). Prints medians in
milliseconds and ends with one line of JSON. A start ends with the first manifest served.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.large_index import fill, repository, tag
from tests.nodes import RunningNode

_PAGE = 1000


def prepared(folder: Path, tags: int) -> Path:
    """The data folder of a node with so many tags, filled when it is missing."""
    data = folder / f"tags-{tags}"
    if not (data / "filled").exists():
        each = min(1000, tags)
        fill(data, repositories=tags // each, tags=each, images=20, layers=10)
        (data / "filled").touch()
    return data


def measured(data: Path, rounds: int) -> dict[str, float]:
    """Medians in milliseconds."""
    found: dict[str, list[float]] = {"start": [], "first page of tags": [], "manifest": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            node = RunningNode(Path(name), data=str(data))
            try:
                _round(node, found)
            finally:
                node.kill()
    return {name: round(statistics.median(values) * 1000, 2) for name, values in found.items()}


def _round(node: RunningNode, found: dict[str, list[float]]) -> None:
    manifest, page = f"/v2/{repository(0)}/manifests/{tag(7)}", f"/v2/{repository(0)}/tags/list?n={_PAGE}"
    with node.client("ci") as http:
        began = time.monotonic()
        node.start(wait=False)
        while not _answers(http, manifest):
            time.sleep(0.002)
        found["start"].append(time.monotonic() - began)
        for path, name in ((page, "first page of tags"), (manifest, "manifest")):
            found[name].append(statistics.median(_seconds(lambda path=path: http.get(path)) for _ in range(100)))  # type: ignore[misc]


def _answers(http: httpx.Client, path: str) -> bool:
    try:
        return http.get(path).status_code == 200
    except httpx.TransportError:
        return False


def _seconds(ask: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    ask().raise_for_status()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tags", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = given.folder or Path(name)
        result = {str(tags): measured(prepared(folder, tags), given.rounds) for tags in (100, given.tags)}
    small, large = result.values()
    print(f"{'milliseconds (median)':24} {'100 tags':>12} {f'{given.tags} tags':>16}")
    for each in small:
        print(f"{each:24} {small[each]:12.2f} {large[each]:16.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
