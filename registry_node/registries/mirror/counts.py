"""What a mirror counts beside the requests that it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """``misses``: objects that came from an upstream; ``bytes``: of those; ``wrong``: fills whose bytes were not what
    their digest says; ``stale``: answers older than they should be; ``evicted``: bytes that had to go."""

    manifest_misses: int = 0
    manifest_bytes: int = 0
    blob_misses: int = 0
    blob_bytes: int = 0
    wrong: int = 0
    resumed: int = 0
    stopped: int = 0
    passed_through: int = 0
    stale: int = 0
    evicted: int = 0
