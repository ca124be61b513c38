"""What a topology changes of how images may move - edges, gates, freezes, trust - against what was applied last.

Pure but for the files that gates and keys name: who writes another key into one changes what may pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from promotions.retention import duration
from topology.model import Topology

Fields = Mapping[str, str]
Said = dict[str, dict[str, dict[str, str]]]  # kind -> name -> field -> its value in words
ADDED, CHANGED, GONE = "+", "~", "-"
_NAMES = frozenset({"id", "name", "owner", "labels"})
_NAMED_BY_EDGES = frozenset({"gate", "trust"})
_ENDS = ("from", "to")  # said first, as "from -> to"


@dataclass(frozen=True, slots=True)
class EdgeChange:
    """``kind``: promotion, replication, gate, freeze or trust. ``change``: in words. ``path``: where it is written; of one
    that is gone, the section."""

    kind: str
    name: str
    sign: str
    change: str
    path: tuple[str | int, ...]


def said(topology: Topology) -> Said:
    """In words, what is kept of a topology to compare the next one with: no secret, only where secrets lie."""
    found: Said = {}
    for kind, name, declared, _ in _declared(topology):
        found.setdefault(kind, {})[name] = _fields(declared, topology.base)
    return found


def changed(former: Mapping[str, Mapping[str, Fields]], topology: Topology) -> tuple[EdgeChange, ...]:
    """``former``: as ``said`` gave it of what was applied last. Gates and keys are told when they change: one that comes or
    goes does so with an edge, which names it."""
    left = {(kind, name): fields for kind, some in former.items() for name, fields in some.items()}
    found = []
    for kind, name, declared, path in _declared(topology):
        was, is_ = left.pop((kind, name), None), _fields(declared, topology.base)
        if was is None:
            found.append(EdgeChange(kind, name, ADDED, _whole(is_), path))
        elif was != is_:
            found.append(EdgeChange(kind, name, CHANGED, _difference(was, is_), path))
    gone = (EdgeChange(kind, name, GONE, _whole(was), (_SECTIONS[kind],)) for (kind, name), was in left.items())
    return tuple(each for each in (*found, *gone) if each.sign == CHANGED or each.kind not in _NAMED_BY_EDGES)


_SECTIONS = {
    "promotion": "promotions",
    "replication": "replications",
    "gate": "gates",
    "freeze": "freezes",
    "trust": "trust",
}


def _declared(topology: Topology) -> Iterator[tuple[str, str, BaseModel, tuple[str | int, ...]]]:
    for number, promotion in enumerate(topology.promotions):
        yield "promotion", promotion.id, promotion, ("promotions", number)
    for number, replication in enumerate(topology.replications):
        yield "replication", replication.id, replication, ("replications", number)
    for name, gate in topology.gates.items():
        yield "gate", name, gate, ("gates", name)
    for number, freeze in enumerate(topology.freezes):
        yield "freeze", freeze.name, freeze, ("freezes", number)
    for name, trust in topology.trust.items():
        yield "trust", name, trust, ("trust", name)


def _fields(declared: BaseModel, base: Path) -> dict[str, str]:
    values = declared.model_dump(by_alias=True, exclude_defaults=True)
    return {name: _value(name, value, base) for name, value in values.items() if name not in _NAMES}


def _value(name: str, value: Any, base: Path) -> str:
    if isinstance(value, Path):
        return _with_hash(value, base)
    return f"{value / 1e6:g}Mbit" if name == "bandwidth" else _words(value)


def _with_hash(file: Path, base: Path) -> str:
    """``release.pub (sha256 1f2e3d4c5b6a)``; none of a file that cannot be read, which lint tells."""
    try:
        return f"{file} (sha256 {hashlib.sha256((base / file).read_bytes()).hexdigest()[:12]})"
    except OSError:
        return str(file)


def _words(value: Any) -> str:
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items() if each is not None)
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _whole(fields: Fields) -> str:
    """``ci-snapshots -> prod, gates: signed, four-eyes``"""
    ends = " -> ".join(fields[each] for each in _ENDS if each in fields)
    rest = [f"{name}: {value}" for name, value in fields.items() if name not in _ENDS]
    return "; ".join([ends, *rest] if ends else rest)


def _difference(was: Fields, is_: Fields) -> str:
    names = [*is_, *(each for each in was if each not in is_)]
    return "; ".join(
        f"{name}: {was.get(name, '-')} -> {is_.get(name, '-')}" for name in names if was.get(name) != is_.get(name)
    )
