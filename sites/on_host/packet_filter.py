"""Our table of the host's packet filter (nft(8)): the one that is loaded, and the one that its file says.

Part of the program ``look`` (on_host/__init__.py puts it into its text).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_PROGRAMS = "/usr/sbin:/sbin:/usr/bin:/bin"
# In a network of its own, which is gone when the shell is: nft and the kernel themselves say how they print this file.
_PRINTED = 'nft --file "$1" && exec nft --stateless list table inet "$2"'


def table(name: str) -> str | None:
    """What is loaded, without its counters; "" when it is not there, None when nft is not."""
    nft = shutil.which("nft", path=_PROGRAMS)
    if nft is None:
        return None
    return _said([nft, "--stateless", "list", "table", "inet", name])


def table_of(rules: str, name: str) -> str:
    """The same of the table that a file declares, as if it were loaded; "" when that cannot be found out."""
    unshare = shutil.which("unshare", path=_PROGRAMS)
    if unshare is None or not Path(rules).is_file():
        return ""
    return _said([unshare, "--net", "/bin/sh", "-c", _PRINTED, "sh", rules, name])


def _said(words: list[str]) -> str:
    environment = {"PATH": _PROGRAMS, "LC_ALL": "C"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment).stdout  # noqa: S603 - no shell line of the topology
