"""What runs on a host: two programs of the standard library alone, sent over SSH and read from stdin what to do.

Nothing of a topology ever stands in a command line: it comes as JSON, on stdin.
"""

from __future__ import annotations

import re
from pathlib import Path

_HERE = Path(__file__).parent
_OWN_IMPORT = re.compile(r"^from sites\.on_host\.(\w+) import (?:\([^)]*\)|.*)\n", re.MULTILINE)
_FUTURE = "from __future__ import annotations\n"


def program(name: str) -> str:
    """The text of ``look`` or ``change``, with that of our own modules where it first imports them: the host has none."""
    return _whole(name, set())


def _whole(name: str, there: set[str]) -> str:
    def own(found: re.Match[str]) -> str:
        if found[1] in there:
            return ""
        there.add(found[1])
        return _whole(found[1], there).replace(_FUTURE, "", 1)

    return _OWN_IMPORT.sub(own, (_HERE / f"{name}.py").read_text())
