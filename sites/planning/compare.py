"""Whether what is on a host is what is wanted there, and how texts differ."""

from __future__ import annotations

import difflib

from sites.desired.files import Directory, File
from sites.planning.facts import PathFacts


def is_file(said: PathFacts | None, file: File) -> bool:
    return (
        said is not None
        and (said.kind, said.sha256) == ("file", file.sha256)
        and (said.mode, said.owner, said.group) == (file.mode, file.owner, file.group)
    )


def is_directory(said: PathFacts | None, wanted: Directory) -> bool:
    return (
        said is not None
        and said.kind == "directory"
        and (said.mode, said.owner, said.group) == (wanted.mode, wanted.owner, wanted.group)
    )


def diff(there: str, wanted: str, name: str) -> str:
    """Unified; "" where they are alike."""
    sides = (f"{name} (there)", f"{name} (wanted)")
    return "\n".join(difflib.unified_diff(there.splitlines(), wanted.splitlines(), *sides, lineterm="", n=1))
