"""A node with a fault on purpose: its writers do not say that a commit is coming, so no new epoch begins, and what
readers remember holds for too long. The check must find it."""

from __future__ import annotations

import sys
from pathlib import Path

from registry_node import server, settings
from registry_node.storage.epochs import Epochs

if __name__ == "__main__":
    Epochs.doubt = lambda self, repositories: None  # type: ignore[method-assign]
    server.run(settings.load(Path(sys.argv[1])))
