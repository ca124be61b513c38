"""One round of each kind of work on one peer. ``record(line, value)`` takes the figures (lines.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench import load, pushes, transfers
from bench.content import MIB, Content
from bench.peers import Peer

Record = Callable[[str, float], None]
GIB = 1024 * MIB


def _content(peer: Peer) -> Content:
    assert peer.content is not None
    return peer.content


def small_reads(peer: Peer, folder: Path, record: Record, *, seconds: int, suffix: str = "") -> None:
    """``suffix``: of the lines' names, for a node that is set up otherwise."""
    manifests = _content(peer).manifests
    for connections in (1, 16, 64):
        rate = load.gets(peer, folder, manifests, connections, seconds)
        record(f"manifest GET x{connections}{suffix}", rate.rps)
    record(f"manifest GET x64, p99{suffix}", rate.p99)
    blobs = load.gets(peer, folder, _content(peer).small_blobs, 16, seconds)
    record(f"64 KB blob GET x16{suffix}", blobs.rps)


def large_reads(peer: Peer, record: Record, *, at_once: tuple[int, ...]) -> None:
    content = _content(peer)
    for count in at_once:
        cpu = peer.cpu_seconds()
        seconds = transfers.downloads(peer, content.large_blob, content.large_bytes, count)
        total = content.large_bytes * count
        record(f"large blob GET x{count}", total / MIB / seconds)
        if count == 4 and 32 in at_once:
            record("large blob GET x4, CPU", (peer.cpu_seconds() - cpu) * 1000 / (total / GIB))


def uploads(peer: Peer, record: Record, *, megabytes: int) -> None:
    record("upload with length", megabytes / transfers.upload(peer, megabytes, chunked=False))
    record("upload chunked", megabytes / transfers.upload(peer, megabytes, chunked=True))


def small_pushes(peer: Peer, repositories: list[str], record: Record, *, seconds: int) -> None:
    for connections in (1, 8, 16):
        record(f"small images pushed x{connections}", pushes.rate(peer, repositories, connections, seconds))


def reads_during_uploads(
    peer: Peer, folder: Path, record: Record, *, seconds: int, megabytes: int, suffix: str = ""
) -> None:
    with transfers.uploading(peer, 2, megabytes) as sent:
        time.sleep(0.2)
        sent.began, sent.bytes = time.perf_counter(), 0
        rate = load.gets(peer, folder, _content(peer).manifests, 16, seconds)
        uploaded = sent.rate()
    record(f"manifest GET x16 during two uploads{suffix}", rate.rps)
    record(f"two uploads during manifest GET x16{suffix}", uploaded)


def over_tls(peer: Peer, folder: Path, record: Record, *, seconds: int, megabytes: int) -> None:
    content = _content(peer)
    record("TLS manifest GET x64", load.gets(peer, folder, content.manifests, 64, seconds).rps)
    for count in (1, 4):
        took = transfers.downloads(peer, content.large_blob, content.large_bytes, count)
        record(f"TLS large blob GET x{count}", content.large_bytes * count / MIB / took)
    record("TLS upload with length", megabytes / transfers.upload(peer, megabytes, chunked=False))


def memory(peer: Peer, record: Record) -> None:
    """Of a process that has done nothing else: what it holds at rest, and its peaks."""
    time.sleep(1)
    record("memory at rest", peer.now_mib())
    content = _content(peer)
    peer.forget_peak()
    transfers.downloads(peer, content.large_blob, content.large_bytes, 32)
    record("peak memory, 32 large pulls", peer.peak_mib())
    peer.forget_peak()
    transfers.upload(peer, 1024, chunked=False)
    record("peak memory, upload of 1 GiB", peer.peak_mib())
