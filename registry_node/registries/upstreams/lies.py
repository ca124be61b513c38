"""Who sent wrong bytes for which digest: for a while everybody else is asked for that one first."""

from __future__ import annotations

import time
from collections.abc import Callable

from oci_wire.errors import UpstreamFailed
from registry_node.recent import Recent

SECONDS = 3600.0
_HALF = 4096
_NEVER = float("-inf")


class Lies:
    """In memory, of a bounded number of digests. ``clock``: seconds, growing."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._told: Recent[tuple[str, str], float] = Recent(_HALF)

    def note(self, upstream: str, digest: str) -> None:
        self._told.put((upstream, digest), self._clock())

    def note_failure(self, failed: UpstreamFailed, digest: str) -> None:
        """Of a question about this digest."""
        if failed.reason == "bad-answer":
            self.note(failed.upstream, digest)

    def told_at(self, upstream: str, digest: str) -> float:
        """When it did so last, to sort by: whoever has not, or long ago, comes first."""
        told = self._told.get((upstream, digest))
        return _NEVER if told is None or self._clock() >= told + self._seconds else told
