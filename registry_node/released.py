"""Which build of towpath this process runs."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

# A host's link to a release may move while a process of the former one still runs: resolved once, when this is loaded.
_FOLDER = Path(__file__).resolve().parent.parent.name
RELEASE = _FOLDER if re.fullmatch("[0-9a-f]{16}", _FOLDER) else ""  # as apply names it; "" beside a checkout


@cache
def version() -> str:
    """Of the package; "" when it is run from a folder without its metadata."""
    try:
        return metadata.version("towpath")
    except metadata.PackageNotFoundError:
        return ""
