"""A plan kept in a file, to be looked at and applied later: it holds only as long as nothing that it stands on moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sites.desired.deployment import Deployment
from sites.hosts import HostError
from sites.loopback.nodes import rendered
from sites.planning.plan import HostPlan

FORMAT = 1
Basis = dict[str, str]


def basis(deployment: Deployment, plans: Mapping[str, HostPlan], file: Path) -> Basis:
    """What a plan stands on, by name: the topology's text, the release, each node's settings, each host's facts."""
    found = {"topology": _sha256(file.read_bytes()), "release": deployment.release.identity}
    for host in deployment.hosts.values():
        found |= {f"settings of {node.name}": _sha256(rendered(node.settings)) for node in host.nodes}
    return found | {f"host {name}": plan.facts.fingerprint for name, plan in plans.items()}


def save(path: Path, found: Basis, plans: Mapping[str, HostPlan]) -> None:
    """Holds no secret: rows as they are shown, and hashes."""
    rows = [asdict(row) for plan in plans.values() for row in plan.all_rows]
    path.write_text(json.dumps({"format": FORMAT, "basis": found, "rows": rows}, indent=1) + "\n")


def load(path: Path) -> Basis:
    """Raises HostError for a file that is no saved plan."""
    try:
        told: Any = json.loads(path.read_bytes())
        if told["format"] != FORMAT:
            raise ValueError(f"its format is {told['format']}, not {FORMAT}")
        return {str(name): str(value) for name, value in told["basis"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{path} is no saved plan: {error}"
        raise HostError("plan-unreadable", what, next=f"make one: towpath plan --save {path}") from None


def check(path: Path, found: Basis) -> None:
    """Raises HostError when something moved since the plan was saved, naming what."""
    saved = load(path)
    moved = sorted(name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name))
    if moved:
        raise HostError(
            "plan-stale",
            f"{path} no longer holds: {', '.join(moved)} changed since it was saved",
            why="what would be done now is not what was looked at",
            next=f"look again: towpath plan --save {path}",
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
