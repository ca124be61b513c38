"""What a command's exit status means. Failures never exit 0; a no-op does."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0  # or nothing to do
    FAILED = 1
    USAGE = 2  # or an invalid topology
    CHANGES = 3  # plan --detailed-exitcode, drift
    REFUSED = 4  # by a gate; or no edge, or not allowed
    WAITING = 5  # approval, soak, freeze
    CONFLICT = 6  # or a stale plan
    SOME_SITES_FAILED = 7
    INTEGRITY = 8
    INTERRUPTED = 130
