"""``python -m registry_node --settings FILE``: one node and nothing of the command line, which a release does not hold.

``towpath serve`` is the same for people.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from registry_node.start import run_node

USAGE, INTERRUPTED = 2, 130


def main(arguments: list[str]) -> int:
    """The exit status."""
    if len(arguments) != 2 or arguments[0] != "--settings":
        return _refuse(
            "usage", "a node takes --settings FILE and nothing else", "python -m registry_node --settings FILE"
        )
    try:
        run_node(Path(arguments[1]))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from registry_node.settings import SettingsInvalid  # noqa: PLC0415 - not before the node's own imports

        if not isinstance(error, SettingsInvalid):  # a file that cannot be read is one; other errors are no file's
            raise
        return _refuse("settings-invalid", str(error), "correct the file, or let `towpath apply` write it")
    return 0


def _refuse(code: str, what: str, next_step: str) -> int:
    print(f"error[{code}]: {what}\n  next:  {next_step}", file=sys.stderr, flush=True)
    return USAGE


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # until the node takes it over
    sys.exit(main(sys.argv[1:]))
