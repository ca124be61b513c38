"""The start of one node from its settings file, with as few imports before it as can be: somebody waits for it."""

from __future__ import annotations

import os
from pathlib import Path

from registry_node.imports import without_collection


def run_node(settings: Path) -> None:
    """Runs it until it is told to stop. Raises SettingsInvalid, OSError, SystemExit."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looked for in every package that is installed
    with without_collection():
        from registry_node import settings as node_settings  # noqa: PLC0415 - what is imported here is not collected
        from registry_node.server import run  # noqa: PLC0415
    run(node_settings.load(settings), settings)
