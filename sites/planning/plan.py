"""Desired state minus facts gives operations, and a row for each that a person can read. Pure: no host is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from registry_node.settings import CHANGEABLE, NodeSettings
from sites.desired import layout
from sites.desired.files import Directory, File
from sites.desired.hosts import DesiredHost, DesiredNode, recorded
from sites.desired.inventory import Target
from sites.planning import releases, trial
from sites.planning.actions import (
    Action,
    MakeDirectory,
    MakeUser,
    PutFile,
    PutLink,
    PutRelease,
    ReloadUnits,
    Unit,
)
from sites.planning.compare import data_folder, file_diff, is_directory, is_file, settings_in
from sites.planning.facts import HostFacts, PathFacts
from sites.planning.host_plan import ADD, CHANGE, HostPlan, NodePlan, Row, TopologyPath
from sites.planning.setting_changes import changes


def host_plan(host: DesiredHost, facts: HostFacts) -> HostPlan:
    target = host.target
    rows: list[Row] = []
    prepare: list[Action] = []
    if not facts.user:
        make = MakeUser(layout.USER, str(layout.DATA))
        prepare.append(make)
        rows.append(_row(target, "", ADD, "user", layout.USER, actions=(make,)))
    directories = [
        MakeDirectory(each) for each in host.directories if not is_directory(facts.paths.get(each.path), each)
    ]
    prepare += directories
    if directories:
        named = ", ".join(each.wanted.path for each in directories)
        rows.append(_row(target, "", ADD, "directories", named, actions=tuple(directories)))
    edited = releases.edited(host, facts)
    if host.release.identity not in facts.releases or edited:
        put = PutRelease(str(layout.release(host.release.identity)), host.release.archive)
        prepare += [*_on_trial(host, facts), put] if edited else [put]
        change = f"{host.release.version} ({host.release.identity})"
        change, sign = (f"{change}: edited there: {edited}", CHANGE) if edited else (change, ADD)
        rows.append(_row(target, "", sign, "release", change, actions=(put,)))
    nodes = tuple(_node_plan(target, node, facts, edited=bool(edited)) for node in host.nodes)
    inventory = PutFile(File(str(layout.INVENTORY), recorded(host), 0o600))
    said = facts.paths.get(inventory.wanted.path)
    finish: tuple[Action, ...] = () if is_file(said, inventory.wanted) else (inventory,)
    if finish and not rows and not any(each.actions for each in nodes):
        rows.append(_row(target, "", CHANGE, "inventory", str(layout.INVENTORY), actions=finish))
    return HostPlan(host, facts, tuple(rows), tuple(prepare), nodes, finish)


@dataclass(frozen=True, slots=True)
class _Gap:
    """What one node lacks. ``pending``: an earlier run left files on which it has not passed its health gate.
    ``was_there``: it passed one before that. ``edited``: the release that it runs was. ``stale``: systemd has not read its
    unit again. ``data``: what is wrong with its data folder, which systemd puts right at a start."""

    files: tuple[File, ...]
    folders: tuple[Directory, ...]
    moved: bool
    running: bool
    pending: bool
    enable: bool
    restart: bool
    was_there: bool
    edited: bool
    stale: bool = False
    data: str = ""

    def __bool__(self) -> bool:
        return bool(self.folders or self.enable or self.tried)

    @property
    def tried(self) -> bool:
        """Whether what runs becomes another, which is on trial until it has passed the gate."""
        return bool(self.files or self.moved or self.restart)


def _gap(node: DesiredNode, facts: HostFacts, *, edited: bool) -> _Gap:
    link, unit = facts.paths.get(node.link[0]), facts.units.get(node.unit)
    files = tuple(each for each in node.files if not is_file(facts.paths.get(each.path), each))
    folders = tuple(each for each in node.directories if not is_directory(facts.paths.get(each.path), each))
    moved = link is None or (link.kind, link.target) != ("link", node.link[1])
    running = unit is not None and unit.active in ("active", "reloading")
    pending = facts.paths.get(str(layout.pending(node.name))) is not None
    enable = unit is None or unit.enabled != "enabled"
    was_there = not trial.never_passed(node.name, facts)
    stale = unit is not None and unit.stale == "yes"
    data = data_folder(facts.paths.get(node.data.path), node.data.recorded()) if was_there else ""
    forced = moved or not running or pending or edited or stale or bool(data)
    restart = forced or any(_needs_restart(each, node, facts) for each in files)
    return _Gap(files, folders, moved, running, pending, enable, restart, was_there, edited, stale, data)


def _on_trial(host: DesiredHost, facts: HostFacts) -> Iterator[Action]:
    """Before a release is laid down again, the nodes that run it are marked: a run that is cut after it restarts them."""
    for node in host.nodes:
        gap = _gap(node, facts, edited=True)
        if gap.was_there and not gap.moved and not gap.pending:
            yield from trial.begin(node.name, (), pending=False, first=False)


def _node_plan(target: Target, node: DesiredNode, facts: HostFacts, *, edited: bool) -> NodePlan:
    gap = _gap(node, facts, edited=edited)
    if not gap:
        return NodePlan(node)
    rows, actions = tuple(_rows(target, node, facts, gap)), tuple(_actions(node, gap))
    settle = trial.settle(node.name) if gap.tried else ()
    return NodePlan(node, rows, actions, gap.restart, gap.was_there, gap.running, settle)


def _actions(node: DesiredNode, gap: _Gap) -> Iterator[Action]:
    """The node is on trial from before the first file until it has passed its health gate (``settle``)."""
    yield from (MakeDirectory(each) for each in gap.folders)
    if gap.tried:
        replaced = (*(each.path for each in gap.files), *((node.link[0],) if gap.moved else ()))
        yield from trial.begin(node.name, replaced, pending=gap.pending, first=not gap.was_there)
    yield from (PutFile(each) for each in gap.files)
    if gap.moved:
        yield PutLink(*node.link)
    if gap.stale or any(each.path == str(layout.unit_file(node.name)) for each in gap.files):
        yield ReloadUnits()
    if gap.enable:
        yield Unit("enable", node.unit)
    if gap.restart:
        yield Unit("restart", node.unit)


def _needs_restart(file: File, node: DesiredNode, facts: HostFacts) -> bool:
    """A running node takes some settings in (registry_node/reload.py) and sees its certificate change; nothing else."""
    if file.path == str(layout.certificate(node.name)):
        return True  # its key comes through systemd, at a start
    if file.path != str(layout.settings(node.name)):
        return True
    former = _former_settings(node, facts)
    return former is None or any(
        getattr(former, name) != getattr(node.settings, name)
        for name in NodeSettings.model_fields
        if name not in CHANGEABLE
    )


def _former_settings(node: DesiredNode, facts: HostFacts) -> NodeSettings | None:
    return settings_in(facts.settings(node.name))


def _rows(target: Target, node: DesiredNode, facts: HostFacts, gap: _Gap) -> Iterator[Row]:
    """A new node is one row; of one that is there each difference is its own."""
    path: TopologyPath = ("nodes", node.name)
    restart = Unit("restart", node.unit)
    if facts.paths.get(str(layout.settings(node.name))) is None:
        what = f"{node.settings.kind} of {node.settings.scope}" if node.settings.kind == "local" else node.settings.kind
        change = f"{what}, port {node.settings.listen.port}"
        yield _row(target, node.name, ADD, "node", change, actions=tuple(_actions(node, gap)), path=path)
        return
    for file in gap.files:
        yield from _file_rows(target, node, facts, file)
    if gap.moved:
        was = facts.paths.get(node.link[0])
        change = f"{was.target.rpartition('/')[2] if was else 'none'} -> {node.release}"
        yield _row(target, node.name, CHANGE, "release", change, actions=(PutLink(*node.link), restart), path=path)
    if not gap.files and not gap.moved:
        yield _row(target, node.name, CHANGE, "process", _process(node, facts, gap), actions=(restart,), path=path)


def _process(node: DesiredNode, facts: HostFacts, gap: _Gap) -> str:
    unit = facts.units.get(node.unit)
    if not gap.running:
        return f"{unit.active if unit else 'not there'} -> active"
    if gap.pending:
        return "has not passed its health gate"
    if gap.edited:
        return "runs a release that was edited"
    if gap.stale:
        return "runs on an older unit file"
    if gap.data:
        return f"its data folder {gap.data}"
    return "not started at boot -> started" if gap.enable else "folders have another owner or mode"


def _file_rows(target: Target, node: DesiredNode, facts: HostFacts, file: File) -> Iterator[Row]:
    former = _former_settings(node, facts)
    said, put = facts.paths.get(file.path), (PutFile(file),)
    diff = file_diff(file, facts)
    if file.path == str(layout.settings(node.name)) and former is not None:
        found = list(changes(former, node.settings))
        for each in found:
            yield _row(target, node.name, CHANGE, each.name, each.text, actions=put, path=each.path, diff=diff)
        if found:
            return
    what = "credential" if file.secret else "file"
    change = f"{file.path.rpartition('/')[2]} {_difference(said, file)}"
    path: TopologyPath = ("nodes", node.name)
    yield _row(target, node.name, CHANGE if said else ADD, what, change, actions=put, path=path, diff=diff)


def _difference(said: PathFacts | None, file: File) -> str:
    if said is None:
        return "is missing"
    if said.kind != "file":
        return f"is a {said.kind}"
    if said.sha256 != file.sha256:
        return "differs"
    return f"is {said.mode:04o} {said.owner}:{said.group}, not {file.mode:04o} {file.owner}:{file.group}"


def _row(
    target: Target,
    node: str,
    sign: str,
    operation: str,
    change: str,
    *,
    actions: tuple[Action, ...] = (),
    path: TopologyPath = (),
    diff: str = "",
) -> Row:
    where = path or ("sites", target.site, "hosts", target.name)
    commands = tuple(each.command for each in actions)
    return Row(target.site, target.name, node, sign, operation, change, where, commands, diff)
