"""The check for as long as you like: ``python -m tests.registry_node.linearizability --seconds 600 --processes 3
--kill``. Exit status 1 and the place of the trouble when a tag was served stale."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.nodes import running
from tests.postgresql import server
from tests.registry_node.linearizability.recorder import kill_one, record

_ROUND = 10.0  # seconds of one history


def main() -> int:
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings: dict[str, Any] = {"processes": options.processes}
        if options.postgresql:
            (folder / "dsn").write_text(stack.enter_context(server()).database())
            settings["index"] = {"postgresql": {"dsn_file": str(folder / "dsn")}}
        node = stack.enter_context(running(folder / "box", **settings))
        until, number, asked = time.monotonic() + options.seconds, 0, 0
        while time.monotonic() < until:
            number += 1
            history = record(
                node,
                min(_ROUND, options.seconds),
                clients=options.clients,
                tags=options.tags,
                meanwhile=lambda: kill_one(node) if options.kill else None,
                number=number,
            )
            asked += history.answered
            print(f"round {number}: {history.answered} operations answered, {history.unanswered} not", flush=True)
            if found := history.violations():
                print("\n".join(found))
                return 1
    print(f"{asked} operations, and no tag was served stale")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.registry_node.linearizability", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tags", type=int, default=3)
    parser.add_argument("--postgresql", action="store_true", help="keep the index in a PostgreSQL of its own")
    parser.add_argument("--kill", action="store_true", help="kill one process in the middle of each round")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
