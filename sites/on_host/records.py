"""What an earlier apply left on the host: its record (the inventory), read strictly, and the nodes that lie there whatever
that says.

Part of the program ``look`` (on_host/__init__.py puts it into its text).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 20  # of a record; a host with a hundred nodes has 0.2 MiB
PARTS_OF_RECORD = ("directories", "files", "links", "nodes", "parts", "releases", "units")
NODE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def read_record(path: str) -> tuple[Any, str]:
    """The record and why it is none: ``(None, "")`` when nothing lies there."""
    try:
        status = Path(path).lstat()
        if not stat.S_ISREG(status.st_mode):
            return None, "it is no plain file"
        if status.st_size > MOST_BYTES:
            return None, f"it has {status.st_size >> 20} MiB: no record is as large"
        found = json.loads(Path(path).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except (OSError, ValueError, RecursionError) as error:
        return None, f"it is no JSON: {str(error) or type(error).__name__}"
    wrong = misshapen(found)
    return (None, wrong) if wrong else (found, "")


def misshapen(found: Any) -> str:
    """Why this is no record; "" when it is one."""
    if not isinstance(found, dict):
        return "it is no JSON object"
    for part in PARTS_OF_RECORD:
        entries = found.get(part, {})
        if not isinstance(entries, dict):
            return f"its `{part}` is no object"
        for name, each in entries.items():
            if not name.isprintable() or (part == "releases" and Path(name).name != name):
                return f"its `{part}` has a name that is none of ours"
            if not (isinstance(each, str) and each.isprintable() if part == "units" else isinstance(each, dict)):
                return f"its `{part}` has an entry of another kind"
            if part == "parts" and not part_of_host(each):
                return "its `parts` has an entry of another kind"
    return ""


def part_of_host(each: dict[str, Any]) -> bool:
    listed, unit = each.get("files"), each.get("unit")
    if not (isinstance(listed, dict) and isinstance(unit, str) and unit.isprintable()):
        return False
    return all(path.isprintable() and isinstance(said, dict) for path, said in listed.items())


def nodes_there(places: dict[str, str]) -> dict[str, list[str]]:
    """Node -> its files and links. ``places``: the folders of settings, links and units. A node is there when its settings,
    its link or its unit is; what is on trial does not count, nor its data."""
    settings, links, services = (Path(places[each]) for each in ("settings", "links", "units"))
    names = {each.parent.name for each in settings.glob("*/settings.json")}
    names |= {each.name for each in links.glob("*") if each.is_symlink()}
    names |= {name for name, text in texts_of_units(services).items() if f"PYTHONPATH={links}/{name}\n" in text}
    return {name: things_of(name, settings, links, services) for name in sorted(names) if NODE_NAME.fullmatch(name)}


def texts_of_units(folder: Path) -> dict[str, str]:
    """By the name that a node would have: the text of units that are called as ours are."""
    found = {}
    for each in folder.glob("towpath-*.service"):
        if each.is_file() and each.stat().st_size <= MOST_BYTES:
            found[each.name[len("towpath-") : -len(".service")]] = each.read_text(errors="replace")
    return found


def things_of(name: str, settings: Path, links: Path, services: Path) -> list[str]:
    own = [each for each in (settings / name).rglob("*") if each.is_symlink() or each.is_file()]
    own += [
        each for each in (links / name, services / f"towpath-{name}.service") if each.is_symlink() or each.is_file()
    ]
    return sorted(str(each) for each in own if each.name != "pending" and str(each).isprintable())


def machine_id(path: str = "/etc/machine-id") -> str:
    """Which machine this is: a hash of its machine-id(5), which itself is not to be told to others (as
    sd_id128_get_machine_app_specific(3) does); "" when it has none."""
    try:
        said = Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""
    if not re.fullmatch(r"[0-9a-f]{32}", said):
        return ""
    return hmac.new(bytes.fromhex(said), b"towpath host", hashlib.sha256).hexdigest()[:32]
