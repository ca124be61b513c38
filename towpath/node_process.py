"""What ``towpath serve`` does. Apart from the other verbs, and without the parser of command lines: a node's start is
waited for, and that import would be half of it."""

from __future__ import annotations

from pathlib import Path

from registry_node import start
from towpath.exits import Exit
from towpath.problem import Problem


def run_node(settings: Path) -> Exit:
    """Runs the node of a settings file until it is told to stop. Raises Problem, SystemExit."""
    try:
        start.run_node(settings)
    except Exception as error:
        from registry_node.settings import SettingsInvalid

        if not isinstance(error, SettingsInvalid):
            raise
        raise Problem(
            "settings-invalid", str(error), next="correct the file, or let `towpath up` render it", exit=Exit.USAGE
        ) from None
    return Exit.DONE
