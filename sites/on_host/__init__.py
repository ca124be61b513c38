"""What runs on a host: two programs of the standard library alone, sent over SSH and read from stdin what to do.

Nothing of a topology ever stands in a command line: it comes as JSON, on stdin.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def program(name: str) -> str:
    """The text of ``look`` or ``change``."""
    return (_HERE / f"{name}.py").read_text()
