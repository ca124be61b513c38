"""Work that needs registries of its own: memory, starts, a million tags, a client's whole command, PostgreSQL."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from bench import rounds
from bench.content import Wanted, prepare
from bench.lines import Figures
from bench.peers import D2, D3, distribution, started, towpath


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
