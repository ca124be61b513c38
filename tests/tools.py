"""The real programs that tests drive: found by name, or the test says why it cannot run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / ".tools" / "bin"


def _folders() -> list[str]:
    """Ours, PATH, and where Debian keeps daemons: sbin is on no plain user's PATH, PostgreSQL's programs on nobody's."""
    postgresql = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name), reverse=True)
    return [str(TOOLS), os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, postgresql)]


def find(name: str) -> str | None:
    """Where a program is: the project's own tools first, then PATH, then the daemons' folders."""
    return shutil.which(name, path=os.pathsep.join(_folders()))


def require(name: str) -> str:
    """The program's path. Without it the test is skipped with the reason; with CI=true it fails."""
    found = find(name)
    if found is not None:
        return found
    reason = f"{name} is not installed (scripts/install-clients installs it)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
