"""A plan kept in a file, to be looked at and applied later: it holds only as long as nothing that it stands on moved.

What it stands on is kept piece by piece, so that what moved can be named, and each piece as a hash keyed by a secret of
the deployment (HMAC, RFC 2104): from the file nobody can find out by trying what a secret is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sites.desired import layout
from sites.desired.hosts import DesiredHost, recorded
from sites.hosts import HostError
from sites.planning.deployment import Deployment
from sites.planning.facts import HostFacts
from sites.planning.host_plan import HostPlan

FORMAT = 2
Basis = dict[str, str]
STATE = "the state folder (its engine token is another one)"
_PROCESS = re.compile(r" \(process \d+\)$")
_SHOWN = 8  # pieces that moved, in a refusal
# Of a host's facts: what moves by itself, and what is taken apart below. Texts stand in paths, by hash.
_PASSING = {"time", "asked", "answered", "disk", "lock", "asked_from"}
_APART = _PASSING | {"texts", "paths", "units", "ports", "trees"}


def basis(deployment: Deployment, plans: Mapping[str, HostPlan], file: Path) -> Basis:
    """What a plan stands on, by name: the topology's text, and for each host all that it must have (files by their hash,
    links, units, the release) and all that it said it has."""
    key = hashlib.sha256(b"towpath saved plan\0" + deployment.engine.encode()).digest()
    found: dict[str, Any] = {STATE: "", "topology": hashlib.sha256(file.read_bytes()).hexdigest()}
    for name, plan in plans.items():
        found |= {f"host {name}: {what} (wanted)": value for what, value in _wanted(plan.host)}
        found |= {f"host {name}: {what} (there)": value for what, value in _there(plan.facts)}
    return {name: _keyed(key, name, value) for name, value in found.items()}


def _wanted(host: DesiredHost) -> Iterator[tuple[str, Any]]:
    yield "release", host.release.identity
    for part, entries in json.loads(recorded(host)).items():
        if isinstance(entries, dict):
            yield from ((name if part != "units" else f"unit {name}", each) for name, each in entries.items())


def _there(facts: HostFacts) -> Iterator[tuple[str, Any]]:
    told = facts.model_dump(mode="json")
    yield from ((name, value) for name, value in told.items() if name not in _APART)
    for path, said in told["paths"].items():
        if not (path == str(layout.DATA) and _made_by_lock(said)):
            yield path, said
    for name, said in told["units"].items():
        yield f"unit {name}", {key: value for key, value in said.items() if key != "pid"}
    for port, said in told["ports"].items():
        yield f"port {port}", _PROCESS.sub("", said)
    for identity, said in told["trees"].items():
        yield f"release {identity}", said


def _made_by_lock(said: dict[str, Any] | None) -> bool:
    """``apply`` takes the host's lock before it looks again, and the lock's folder may be new."""
    return said is None or (said["kind"], said["owner"]) == ("directory", "root")


def _keyed(key: bytes, name: str, value: Any) -> str:
    told = json.dumps([name, value], sort_keys=True).encode()
    return hmac.new(key, told, hashlib.sha256).hexdigest()


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
            f"{path} no longer holds: what it stands on has moved since it was saved",
            where=STATE if STATE in moved else _listed(moved),
            why="what would be done now is not what was looked at",
            next=f"look again: towpath plan --save {path}",
        )


def _listed(moved: list[str]) -> str:
    more = len(moved) - _SHOWN
    return "\n".join([*moved[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
