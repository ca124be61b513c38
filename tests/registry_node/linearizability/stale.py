"""A node with a fault on purpose: each process keeps what a tag names for 50 ms. The check must find it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from registry_node import server, settings
from registry_node.storage.reads import Reads

STALE_SECONDS = 0.05


def spoil() -> None:
    fresh = Reads._of_repository
    known: dict[tuple[str, ...], tuple[float, Any]] = {}

    def row(self: Reads, *key: str) -> Any:
        if key not in known or known[key][0] < time.monotonic():
            known[key] = time.monotonic() + STALE_SECONDS, fresh(self, *key)
        return known[key][1]

    Reads._of_repository = row  # type: ignore[method-assign]


if __name__ == "__main__":
    spoil()
    server.run(settings.load(Path(sys.argv[1])))
