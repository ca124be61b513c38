"""What ``towpath serve`` does. Apart from the other verbs, and without the parser of command lines: a node's start is
waited for, and that import would be half of it."""

from __future__ import annotations

import os
from pathlib import Path

from towpath.exits import Exit
from towpath.imports import without_collection
from towpath.problem import Problem


def run_node(settings: Path) -> Exit:
    """Runs the node of a settings file until it is told to stop. Raises Problem, SystemExit."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looked for in every package that is installed
    with without_collection():
        from registry_node import settings as node_settings
        from registry_node.server import run

    try:
        loaded = node_settings.load(settings)
    except node_settings.SettingsInvalid as error:
        raise Problem(
            "settings-invalid", str(error), next="correct the file, or let `towpath up` render it", exit=Exit.USAGE
        ) from None
    run(loaded, settings)
    return Exit.DONE
