"""Verbs that run a process: ``serve`` (one node) and ``control`` (the controller)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from towpath.exits import Exit
from towpath.output import PLAIN, Options
from towpath.problem import Problem


def serve(
    *,
    settings: Annotated[Path, Parameter(help="The node's settings file (JSON).")],
    options: Options = PLAIN,
) -> Exit:
    """Run one registry node in the foreground until it is told to stop (SIGTERM drains)."""
    del options
    from registry_node import settings as node_settings
    from registry_node.server import run

    try:
        loaded = node_settings.load(settings)
    except node_settings.SettingsInvalid as error:
        raise Problem(
            "settings-invalid", str(error), next="correct the file, or let `towpath up` render it", exit=Exit.USAGE
        ) from None
    run(loaded)
    return Exit.DONE
