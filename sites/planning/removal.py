"""What leaves a host: nodes that the topology no longer places there, trash whose term is over, releases of no use. Pure.

A node leaves when the inventory that an earlier apply left on the host lists it. Of that inventory nothing is taken on
trust: where a node's things lie is known from its name, and what else it lists is left alone, and said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sites.desired import layout
from sites.desired.files import Directory
from sites.desired.hosts import DesiredHost
from sites.desired.inventory import Target
from sites.planning.actions import Action, MakeDirectory, ReloadUnits, Remove, Unit
from sites.planning.facts import HostFacts, Recorded, RecordedNode
from sites.planning.host_plan import CHANGE, DESTROY, HostPlan, Leaving, Removal, Row
from sites.planning.old_releases import sweep
from sites.planning.removal_actions import Discard, Prune
from sites.planning.trash import discarded, emptied, kept, kept_rows, term
from sites.planning.unused_files import unused_files

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def with_removal(plan: HostPlan, now: datetime, protected: Collection[tuple[str, str]] = ()) -> HostPlan:
    """The plan with what leaves the host. ``protected``: by whom the state folder remembers it, (node, by what)."""
    leaving = tuple(_leaving(plan.host, plan.facts, now, frozenset(protected)))
    names = {each.node for each in leaving}
    rows, last = [], []  # type: list[Row], list[Action]
    target = plan.host.target
    for action, row in (*unused_files(plan), *emptied(target, plan.facts, now)):
        last.append(action)
        rows.append(row)
    wanted = {each.release for each in plan.host.nodes}
    if old := sweep(wanted, plan.nodes, names, plan.facts):
        last.append(old)
        rows.append(_row(target, "", DESTROY, "releases", f"{len(old.names)} that no node needs", old))
    if not plan.host.nodes:
        rows += kept_rows(target, kept(plan.facts, now))
    rows += [_foreign(target, each) for each in _not_ours(plan.facts, names)]
    before = tuple(each for each in plan.rows if not ((leaving or last) and each.operation == "inventory"))
    return replace(plan, rows=before, finish=(*last, *plan.finish), removal=Removal(leaving, tuple(rows)))


def vacated(host: DesiredHost, facts: HostFacts) -> HostPlan:
    """The plan of a host that keeps nothing of ours but what it runs on and the trash."""
    finish = (Remove(str(layout.INVENTORY)),) if facts.inventory is not None else ()
    return HostPlan(host, facts, finish=finish)


def _leaving(
    host: DesiredHost, facts: HostFacts, now: datetime, known: frozenset[tuple[str, str]]
) -> Iterator[Leaving]:
    if facts.inventory is None:
        return
    stay = {each.name for each in host.nodes}
    ports = {each.settings.listen.port for each in host.nodes}
    for name in sorted(recorded_nodes(facts.inventory) - stay):
        told = facts.inventory.nodes.get(name, RecordedNode())
        unit = facts.units.get(layout.unit(name))
        actions = tuple(_actions(name, told, facts, now))
        by = tuple(dict.fromkeys((*told.protected, *(each for node, each in sorted(known) if node == name))))
        runs = unit is not None and unit.active in ("active", "reloading")
        row = _row(host.target, name, DESTROY, "node", described(told), *actions)
        yield Leaving(name, told, row, by, runs, told.port in ports, actions)


def described(told: RecordedNode) -> str:
    what = f"{told.kind} of {told.scope}" if told.kind == "local" else told.kind or "node of an earlier towpath"
    return f"{what}, data to trash for {_days(term(told))}"


def recorded_nodes(inventory: Recorded) -> set[str]:
    """The nodes that an inventory lists, by names that the topology's grammar allows."""
    laid = (*inventory.files.values(), *inventory.links.values())
    names = {*inventory.nodes, *inventory.units.values(), *(str(each.get("node", "")) for each in laid)}
    return {each for each in names if _NAME.fullmatch(each)}


def _actions(node: str, told: RecordedNode, facts: HostFacts, now: datetime) -> Iterator[Action]:
    """Stopped first; then its data is out of reach of whoever cleans up, then its files go."""
    assert facts.inventory is not None
    unit, unit_file = facts.units.get(layout.unit(node)), str(layout.unit_file(node))
    if facts.paths.get(unit_file) is not None:
        yield Unit("disable", layout.unit(node))
    elif unit is not None and unit.active not in ("inactive", "failed", ""):
        yield Unit("stop", layout.unit(node))
    place = str(layout.TRASH / discarded(node, now))
    since = max(now.timestamp(), facts.time)
    yield MakeDirectory(Directory(str(layout.TRASH), 0o700))
    note = {"node": node, "kind": told.kind, "scope": told.scope, "since": now.timestamp()}
    until = since + term(told).total_seconds()  # by the later of both clocks
    yield Discard(str(layout.data(node)), place, note, until)
    listed = [*facts.inventory.files, *facts.inventory.links]
    files = tuple(each for each in listed if _owner(each) == node)
    folders = (str(layout.credentials(node)), str(layout.settings(node).parent))
    yield Prune((*files, str(layout.pending(node))), folders)
    yield Remove(str(layout.former(node)))
    yield ReloadUnits()


def _owner(path: str) -> str:
    """The node in whose places a path lies; "" when in none's."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts[1:]) or not path.startswith("/"):
        return ""
    for folder in (layout.SETTINGS, layout.NODES):
        if path.startswith(f"{folder}/"):
            return path[len(str(folder)) + 1 :].partition("/")[0]
    name = path.removeprefix(f"{layout.UNITS}/towpath-").removesuffix(".service")
    return name if path == str(layout.unit_file(name)) and "/" not in name else ""


def _not_ours(facts: HostFacts, leaving: Collection[str]) -> list[str]:
    """What an inventory lists of nodes that leave and that is none of theirs."""
    if facts.inventory is None:
        return []
    laid = {**facts.inventory.files, **facts.inventory.links}
    return [path for path, each in laid.items() if each.get("node") in leaving and _owner(path) != each.get("node")]


def _days(term: timedelta) -> str:
    return f"{term.days} d" if term >= timedelta(days=1) else f"{term.total_seconds() / 3600:.0f} h"


def _foreign(target: Target, path: str) -> Row:
    return _row(target, "", CHANGE, "inventory", f"lists {path}, which is none of ours: left alone")


def _row(target: Target, node: str, sign: str, operation: str, change: str, *actions: Action) -> Row:
    commands = tuple(each.command for each in actions)
    return Row(target.site, target.name, node, sign, operation, change, ("sites", target.site), commands)
