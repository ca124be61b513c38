"""What a host lacks beside its nodes (its firewall, the limits of its journal), and what of these it should no longer have.

What guards the nodes changes with them, wave by wave, after they have passed their gates; on a host where nothing runs
yet it comes first, so that no node is ever open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sites.desired import firewall, layout
from sites.desired.files import Directory, File, Part
from sites.desired.inventory import Target
from sites.planning import loaded_rules
from sites.planning.actions import Action, DropTable, MakeDirectory, PutFile, ReloadUnits, Remove, Unit
from sites.planning.compare import edited, file_diff, is_file
from sites.planning.facts import HostFacts, RecordedPart
from sites.planning.host_plan import ADD, CHANGE, DESTROY, HostPlan, Row


@dataclass(frozen=True, slots=True)
class _PartPlan:
    row: Row
    actions: tuple[Action, ...]
    last: bool


def with_parts(plan: HostPlan) -> HostPlan:
    """The same plan with what the host's parts need."""
    found = [*_wanted(plan), *_left_over(plan)]
    if not found:
        return plan
    first, last = ([each for each in found if each.last is late] for late in (False, True))
    kept = tuple(row for row in plan.rows if row.operation != "inventory")  # that row is for an inventory alone
    return replace(
        plan,
        rows=(*kept, *(each.row for each in first)),
        prepare=(*plan.prepare, *(action for each in first for action in each.actions)),
        last_rows=tuple(each.row for each in last),
        finish=(*(action for each in last for action in each.actions), *plan.finish),
    )


def parts_drift(target: Target, facts: HostFacts) -> Iterator[Row]:
    """What somebody changed of them since they were laid down; ``facts.inventory`` says what that was."""
    laid = facts.inventory.parts if facts.inventory else {}
    for name, part in laid.items():
        for path, said in part.files.items():
            if change := edited(facts.paths.get(path), said):
                yield _of_host(target, CHANGE, name, f"{path} {change}")
        unit = facts.units.get(part.unit)
        if part.unit and (unit is None or (unit.active, unit.enabled) != ("active", "enabled")):
            state = f"{unit.active}, {unit.enabled or 'disabled'} at boot" if unit else "not there"
            yield _of_host(target, CHANGE, name, f"{part.unit} is {state}")
        elif unit and unit.stale == "yes":
            yield _of_host(target, CHANGE, name, f"{part.unit} runs on an older unit file")
        if part.unit == layout.FIREWALL_UNIT and (found := loaded_rules.drifted(facts, part.files)):
            yield _of_host(target, CHANGE, name, found[0], diff=found[1])


def _wanted(plan: HostPlan) -> Iterator[_PartPlan]:
    running = any(unit.active == "active" for unit in map(plan.facts.units.get, _units(plan)) if unit)
    for part in plan.host.parts:
        missing = [each for each in part.files if not is_file(plan.facts.paths.get(each.path), each)]
        idle = _idle(part, plan.facts)
        if missing or idle:
            actions = tuple(_actions(part, missing, plan.facts))
            row = _row(plan, part, missing, idle, actions)
            yield _PartPlan(row, actions, last=part.guards and running)


def _units(plan: HostPlan) -> list[str]:
    return [each.unit for each in plan.host.nodes]


def _idle(part: Part, facts: HostFacts) -> str:
    """Why a part does not do its work though its files are there; "" when it does."""
    unit = facts.units.get(part.unit)
    if not part.unit:
        return ""
    if unit is None or unit.active != "active":
        return f"{part.unit} is {unit.active if unit else 'not there'}"
    if unit.enabled != "enabled":
        return f"{part.unit} is not started at boot"
    if part.loaded not in (facts.table or ""):
        return "its rules are not loaded"
    if unit.stale == "yes":
        return f"{part.unit} runs on an older unit file"
    return loaded_rules.CHANGED if loaded_rules.changed_by_hand(facts) else ""


def _actions(part: Part, missing: list[File], facts: HostFacts) -> Iterator[Action]:
    for each in missing:
        if (folder := each.path.rpartition("/")[0]).endswith(".d"):
            yield MakeDirectory(Directory(folder))
        yield PutFile(each)
    unit = facts.units.get(part.unit)
    if any(each.path.startswith(str(layout.UNITS)) for each in missing) or (unit and unit.stale == "yes"):
        yield ReloadUnits()
    if part.unit and (unit is None or unit.enabled != "enabled"):
        yield Unit("enable", part.unit)
    if part.unit:
        yield Unit("reload-or-restart", part.unit)
    if part.rereads and missing:
        yield Unit("try-restart", part.rereads)


def _left_over(plan: HostPlan) -> Iterator[_PartPlan]:
    """Parts that an earlier apply laid down and that are declared no more."""
    laid = dict(plan.facts.inventory.parts) if plan.facts.inventory else {}
    if firewall.NAME not in laid and (found := loaded_rules.left_behind(plan.facts)):
        laid[firewall.NAME] = found
    for name, part in laid.items():
        if name not in {each.name for each in plan.host.parts}:
            target, actions = plan.host.target, tuple(_taking_away(part, plan.facts))
            change = ", ".join(path.rpartition("/")[2] for path in part.files)
            yield _PartPlan(_of_host(target, DESTROY, name, change, actions=actions), actions, last=True)


def _taking_away(part: RecordedPart, facts: HostFacts) -> Iterator[Action]:
    guards = part.unit == layout.FIREWALL_UNIT
    if guards:
        yield from _stopping(facts)
    there = {path: facts.paths.get(path) for path in part.files if path in layout.OF_PARTS}
    yield from (Remove(path) for path, each in there.items() if each and each.kind in ("file", "link"))
    if part.unit:
        yield ReloadUnits()
    if guards and facts.table:
        yield DropTable(layout.TABLE)


def _stopping(facts: HostFacts) -> Iterator[Action]:
    """The unit takes the table along, unless somebody removed its file: then links to it are left, and the table."""
    unit = facts.units.get(layout.FIREWALL_UNIT)
    file = facts.paths.get(str(layout.UNITS / layout.FIREWALL_UNIT))
    if unit is not None and unit.loaded == "loaded" and file is not None and file.kind == "file":
        yield Unit("disable", layout.FIREWALL_UNIT)
    elif unit is not None and unit.active == "active":
        yield Unit("stop", layout.FIREWALL_UNIT)
        yield from (Remove(str(each)) for each in layout.FIREWALL_WANTED)


def _row(plan: HostPlan, part: Part, missing: list[File], idle: str, actions: tuple[Action, ...]) -> Row:
    facts, target = plan.facts, plan.host.target
    names = ", ".join(each.path.rpartition("/")[2] for each in missing)
    if not any(facts.paths.get(each.path) for each in part.files):
        return _of_host(target, ADD, part.name, names, actions=actions)
    shown = [file_diff(each, facts) for each in missing]
    shown += [loaded_rules.changed_by_hand(facts)] if idle == loaded_rules.CHANGED else []
    change = f"{names} differs" if missing else idle
    return _of_host(target, CHANGE, part.name, change, actions=actions, diff="\n".join(filter(None, shown)))


def _of_host(
    target: Target, sign: str, name: str, change: str, *, actions: tuple[Action, ...] = (), diff: str = ""
) -> Row:
    path = ("sites", target.site, "hosts", target.name)
    return Row(target.site, target.name, "", sign, name, change, path, tuple(each.command for each in actions), diff)
