"""The record that apply leaves on a host (its inventory), when it is lost, cannot be read or lacks nodes that are there;
and a new one, written from what is there. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sites.desired import layout
from sites.desired.hosts import DesiredHost, recorded
from sites.hosts import HostError
from sites.planning.compare import settings_in
from sites.planning.facts import HostFacts, PathFacts, Recorded, RecordedNode
from sites.planning.removal import recorded_nodes


def unlisted(facts: HostFacts) -> set[str]:
    """Nodes that are there and that no record lists."""
    return set(facts.there) - (recorded_nodes(facts.inventory) if facts.inventory else set())


def nodes_of(facts: HostFacts) -> set[str]:
    """All nodes of ours on a host, by what is there and by its record."""
    return set(facts.there) | (recorded_nodes(facts.inventory) if facts.inventory else set())


def unusable(name: str, facts: HostFacts, wanted: Collection[str]) -> Iterator[HostError]:
    """Why a host's record is not enough to plan by. ``wanted``: nodes whose things are laid down anew in any case."""
    mend = f"towpath import {name}: it writes the record anew from what is there, and changes nothing that runs"
    if facts.unreadable:
        yield HostError(
            "record-unreadable",
            f"the record of host {name} cannot be read; nothing was changed",
            where=f"{layout.INVENTORY} on it",
            why=f"{facts.unreadable}; which nodes are ours, and which are protected, is known by it",
            next=f"put a copy of it back; or {mend}",
        )
    elif strays := sorted(unlisted(facts) - set(wanted)):
        gone = "its record is lost" if facts.inventory is None else "its record does not list them"
        yield HostError(
            "record-lost",
            f"host {name} has {', '.join(strays)}, and {gone}; nothing was changed",
            where=f"{layout.INVENTORY} on it",
            why="what is to leave a host is known by its record: these would run on unnoticed",
            next=mend,
        )


def remade(host: DesiredHost, facts: HostFacts) -> bytes | None:
    """The record of what is there now; None when the one that is there does. Of the old one all that can be read is kept:
    drift stays measured against it."""
    former = facts.inventory
    if former is None and not facts.there:
        return None
    if former is not None and not unlisted(facts) and former.topology:
        return None
    told = _as_found(json.loads(recorded(host)), facts)
    for node in sorted(unlisted(facts) - {each.name for each in host.nodes}):
        _add(told, node, facts)
    if former is not None:
        for part, entries in former.model_dump(mode="json").items():
            if isinstance(entries, dict):
                told[part] |= entries
    return json.dumps(told, indent=1, sort_keys=True).encode() + b"\n"


def in_force(facts: HostFacts, record: bytes | None) -> HostFacts:
    """The same host once this record is there."""
    if record is None:
        return facts
    return facts.model_copy(update={"inventory": Recorded.model_validate_json(record), "unreadable": ""})


def _as_found(told: dict[str, Any], facts: HostFacts) -> dict[str, Any]:
    """What apply would record, as far as it is there, and as it is there."""
    told["files"] = _found(told["files"], facts, "file")
    told["directories"] = _found(told["directories"], facts, "directory")
    links = {path: facts.paths.get(path) for path in told["links"]}
    told["links"] = {
        path: {**told["links"][path], "target": each.target}
        for path, each in links.items()
        if each and each.kind == "link"
    }
    told["units"] = {unit: node for unit, node in told["units"].items() if facts.paths.get(str(layout.unit_file(node)))}
    parts = {name: {**part, "files": _found(part["files"], facts, "file")} for name, part in told["parts"].items()}
    told["parts"] = {name: part for name, part in parts.items() if part["files"]}
    told["nodes"] = {node: each for node, each in told["nodes"].items() if node in facts.there}
    told["releases"] = {each: said for each, said in told["releases"].items() if each in facts.releases}
    return told


def _found(laid: Mapping[str, Any], facts: HostFacts, kind: str) -> dict[str, Any]:
    there = {path: facts.paths.get(path) for path in laid}
    return {path: {**laid[path], **_said(each)} for path, each in there.items() if each and each.kind == kind}


def _said(each: PathFacts) -> dict[str, Any]:
    owned = {"mode": each.mode, "owner": each.owner, "group": each.group}
    return {**owned, "sha256": each.sha256} if each.kind == "file" else owned


def _add(told: dict[str, Any], node: str, facts: HostFacts) -> None:
    """A node that the topology does not have here."""
    for path in facts.there[node]:
        each = facts.paths.get(path)
        if each and each.kind == "file":
            told["files"][path] = {**_said(each), "node": node}
        elif each and each.kind == "link":
            told["links"][path] = {"target": each.target, "node": node}
    if str(layout.unit_file(node)) in told["files"]:
        told["units"][layout.unit(node)] = node
    told["nodes"][node] = _node(facts.settings(node))


def _node(text: str | None) -> dict[str, Any]:
    settings = settings_in(text)
    if settings is None:
        return RecordedNode().model_dump(mode="json")
    place = {"port": settings.listen.port, "tls": settings.tls is not None}
    return RecordedNode(kind=settings.kind, scope=settings.scope, **place).model_dump(mode="json")
