"""What others laid into the folders of our nodes: it is theirs, so apply leaves it, and drift shows it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sites.planning.facts import HostFacts

# What a node was given before it changed, such as its own certificate before it stood behind nginx: by our names.
_GIVEN = re.compile(r"tls\.(crt|key)|robot|login-[a-z0-9-]+|[a-z0-9-]+\.ca\.crt")
_PASSING = ("pending", ".towpath-new")  # of changes that are on trial, or were cut; see planning/trial.py


def given(name: str) -> bool:
    """Whether a file is called as what nodes are given; apply takes those away that a node no longer uses."""
    return _GIVEN.fullmatch(name) is not None


def unmanaged(facts: HostFacts) -> Iterator[tuple[str, str]]:
    """Node and path, of folders that the inventory lists."""
    if facts.inventory is None:
        return
    laid = facts.inventory
    known = laid.files.keys() | laid.links.keys() | laid.directories.keys()
    for folder, names in facts.inside.items():
        if folder in laid.directories:
            node = str(laid.directories[folder].get("node", ""))
            left = (name for name in names if not (name.endswith(_PASSING) or given(name)))
            paths = (f"{folder}/{readable(name)}" for name in left)
            yield from ((node, path) for path in paths if path not in known)


def readable(name: str) -> str:
    """A name that others chose: what no terminal should be given (control characters, bytes that are no UTF-8) escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]
