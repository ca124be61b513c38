"""Whether what is on a host is what is wanted there, or what was laid down there, and how texts differ."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from registry_node.settings import NodeSettings
from sites.desired import layout
from sites.desired.files import Directory, File
from sites.planning.facts import HostFacts, PathFacts
from sites.planning.setting_changes import shown_settings


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


def edited(found: PathFacts | None, laid: Mapping[str, Any]) -> str:
    """What became of a file that an inventory lists; "" when it is as it was laid down."""
    if found is None:
        return "is gone"
    if found.kind != "file":
        return f"is a {found.kind}{f' to {found.target}' if found.target else ''}"
    if found.sha256 != laid.get("sha256"):
        return "was edited"
    return owned_otherwise(found, laid)


def data_folder(found: PathFacts | None, laid: Mapping[str, Any]) -> str:
    """What is wrong with a node's data folder; "" when nothing is. A link in its place is an operator's own way."""
    if found is None:
        return "is gone"
    if found.kind == "link":
        return ""
    return owned_otherwise(found, laid) if found.kind == "directory" else f"is a {found.kind}"


def owned_otherwise(found: PathFacts, laid: Mapping[str, Any]) -> str:
    """ "" when mode and owners are as they were laid down."""
    same = (found.mode, found.owner, found.group) == (laid.get("mode"), laid.get("owner"), laid.get("group"))
    return "" if same else f"is {found.mode:04o} {found.owner}:{found.group}"


def file_diff(file: File, facts: HostFacts) -> str:
    """Unified, from what is there to what is wanted; "" for secrets, for what cannot be read, and for settings that are
    none. Hashes of secrets in settings are blanked."""
    there = facts.texts.get(file.path)
    if file.secret or there is None:
        return ""
    sides = there, file.content.decode()
    if file.path == str(layout.settings(PurePosixPath(file.path).parent.name)):
        both = [settings_in(each) for each in sides]
        shown = [json.dumps(shown_settings(each), indent=2, sort_keys=True) for each in both if each is not None]
        return unified(shown[0], shown[1], file.path) if len(shown) == len(sides) else ""
    return unified(*sides, file.path)


def settings_in(text: str | None) -> NodeSettings | None:
    """None when the text is none of a node's settings."""
    try:
        return NodeSettings.model_validate_json(text or "")
    except ValidationError:
        return None


def unified(there: str, wanted: str, name: str) -> str:
    """As diff -u shows two texts; "" when they are the same."""
    sides = (f"{name} (there)", f"{name} (wanted)")
    return "\n".join(difflib.unified_diff(there.splitlines(), wanted.splitlines(), *sides, lineterm="", n=1))
