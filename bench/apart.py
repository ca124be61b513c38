"""Work that needs registries of its own: memory, starts, a million tags, a client's whole command, PostgreSQL."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import large_index, load, rounds
from bench.connection import Connection
from bench.content import Wanted, prepare
from bench.lines import Figures
from bench.peers import D2, D3, OURS, Peer, distribution, started, towpath
from registry_node.storage import garbage, sql
from registry_node.storage.metadata import Metadata
from tests.postgresql import server
from tests.tools import find

_SCAN = "scan for what nobody needs, 1,000,000 links"
_LINKS = {"repositories": 1000, "tags": 20, "images": 75, "layers": 20, "left": 10}
_FIRST_PAGE = "first page of 1,000,000 tags, to an empty node's page"
_AMONG_MANY = "manifest GET x16 among 1,000,000 tags, to an empty node's"


def memory(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """New processes each round: a peak does not go away."""
    wanted = Wanted(repositories=2, tags=2, megabytes=given.megabytes)
    for number in range(given.rounds):
        starts = [
            partial(towpath, folder / f"ours{number}", wanted.names),
            partial(distribution, folder / f"d3{number}", D3),
            partial(distribution, folder / f"d2{number}", D2),
        ]
        with started(starts) as peers:
            for peer in peers:
                with peer.client() as client:
                    peer.content = prepare(client, wanted)
                rounds.memory(peer, figures.of(peer.name))


def start(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """From the start of the process to its first answer, with a data folder that is there already."""
    wanted = Wanted(repositories=1)
    for number in range(given.rounds + 1):
        for begin in (
            partial(towpath, folder / "ours", wanted.names),
            partial(distribution, folder / "d3", D3),
            partial(distribution, folder / "d2", D2),
        ):
            with started([begin]) as peers:
                for peer in peers if number else ():
                    figures.record("start to first answer", peer.name, peer.seconds)


def many_tags(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """A million tags in 1,000 repositories beside a node that holds one repository of the same kind."""
    sizes = {"full": (1000, 1000), "small": (1, 1000), "page": (1, 10_000)}
    for name, (repositories, tags) in sizes.items():
        large_index.fill(folder / name / "data", repositories=repositories, tags=tags, images=20, layers=10)
    names = [large_index.repository(0)]
    record = figures.of(OURS)
    for _ in range(given.rounds):
        with (
            towpath(folder / "full", names) as full,
            towpath(folder / "small", names) as small,
            towpath(folder / "page", names) as page,
        ):
            record("start with 1,000,000 tags", full.seconds)
            record("page of 10,000 tags", _milliseconds(page, f"/v2/{names[0]}/tags/list?n=10000"))
            first = f"/v2/{names[0]}/tags/list?n=100"
            record(_FIRST_PAGE, _milliseconds(full, first) / _milliseconds(small, first))
            paths = [f"/v2/{names[0]}/manifests/{large_index.tag(n)}" for n in range(1000)]
            fast = load.gets(small, folder, paths, 16, given.seconds).rps
            record(_AMONG_MANY, load.gets(full, folder, paths, 16, given.seconds).rps / fast)
    large_index.fill(folder / "links", **_LINKS)
    for _ in range(given.rounds):
        record(_SCAN, _scan(folder / "links"))


def _scan(folder: Path) -> float:
    """Seconds until every line is told of content that no repository has, and of links that no manifest of theirs needs:
    one in a hundred of each."""
    with closing(Metadata.open(folder / "index.db")) as index, index.reading() as tx:
        links = tx.execute("SELECT count(*) FROM repo_blobs").scalar()
        began = time.perf_counter()
        content, unneeded = list(_pages(tx)), list(_link_pages(tx))
        seconds = time.perf_counter() - began
    told = _LINKS["repositories"] * _LINKS["left"]
    if links < 1_000_000 or (len(content), len(unneeded)) != (told, told):
        raise SystemExit(
            f"bench: {links} links, {len(content)} and {len(unneeded)} that nobody needs; {told} each were made"
        )
    return seconds


def _pages(tx: sql.Connection) -> Iterator[str]:
    after = ""
    while page := garbage.unlinked(tx, after=after):
        yield from page
        after = page[-1]


def _link_pages(tx: sql.Connection) -> Iterator[garbage.Unneeded]:
    after = garbage.FIRST
    while page := garbage.unneeded(tx, after=after):
        yield from page
        after = page[-1]


def _milliseconds(peer: Peer, path: str, times: int = 50) -> float:
    """The median of so many answers on one connection."""
    taken = []
    headers = peer.headers(large_index.repository(0))
    with Connection(peer) as connection:
        for _ in range(times):
            began = time.perf_counter()
            connection.ask(f"GET {path}", headers)
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def postgresql(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """Our node on a PostgreSQL of its own beside distribution, which knows nothing but files."""
    wanted = Wanted(repositories=200, tags=20, megabytes=1)
    if find("postgres") is None:
        print("not measured: PostgreSQL is not installed (scripts/install-clients installs it)", flush=True)
        return
    with server() as cluster:
        (folder / "dsn").write_text(cluster.database())
        starts = [
            partial(towpath, folder / "ours", wanted.names, index={"postgresql": {"dsn_file": str(folder / "dsn")}}),
            partial(distribution, folder / "d3", D3),
        ]
        with started(starts) as peers:
            for peer in peers:
                with peer.client() as client:
                    peer.content = prepare(client, wanted)
            for _ in range(given.rounds):
                for peer in peers:
                    rounds.small_reads(
                        peer, folder, figures.of(peer.name), seconds=given.seconds, suffix=", PostgreSQL"
                    )


def processes(figures: Figures, folder: Path, given: argparse.Namespace) -> None:
    """Our node with a process for each core, as the Go registries use all cores by themselves."""
    wanted, suffix = Wanted(repositories=200, tags=20, megabytes=1), ", 2 processes"
    starts = [
        partial(towpath, folder / "ours", wanted.names, processes=2),
        partial(distribution, folder / "d3", D3),
    ]
    with started(starts) as peers:
        for peer in peers:
            with peer.client() as client:
                peer.content = prepare(client, wanted)
        for _ in range(given.rounds):
            for peer in peers:
                record = figures.of(peer.name)
                rounds.small_reads(peer, folder, record, seconds=given.seconds, suffix=suffix)
                rounds.reads_during_uploads(
                    peer, folder, record, seconds=given.seconds, megabytes=given.megabytes, suffix=suffix
                )
