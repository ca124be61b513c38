"""The settings file, read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import ValidationError

from registry_node.settings.node import NodeSettings


def mark_of(content: bytes) -> str:
    """A short name for one content of a settings file: ``/readyz`` says which one holds (Towpath-Settings)."""
    return hashlib.sha256(content).hexdigest()[:16]


class SettingsInvalid(Exception):
    """The settings file cannot be used; the message says which field and why."""


def load(path: Path) -> NodeSettings:
    """Raises SettingsInvalid."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error.strerror}") from None


def parse(content: bytes, path: Path) -> NodeSettings:
    """``path``: where the content was read, for the message. Raises SettingsInvalid, which shows no value."""
    try:
        return NodeSettings.model_validate_json(content)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, each['loc'])) or '(whole file)'}: {each['msg']}" for each in error.errors())
        raise SettingsInvalid(f"{path}: " + "; ".join(lines)) from None
