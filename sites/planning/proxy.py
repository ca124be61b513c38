"""What the nginx of a host lacks to stand in front of its nodes as it must. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sites.desired import layout
from sites.desired.files import File
from sites.desired.hosts import DesiredHost
from sites.desired.proxy import PROXY_FOLDER
from sites.hosts import HostError
from sites.planning import trial
from sites.planning.actions import Action, Keep, MakeDirectory, PutFile, ReloadProxy, Remove
from sites.planning.compare import file_diff, is_directory, is_file
from sites.planning.facts import HostFacts
from sites.planning.host_plan import ADD, CHANGE, DESTROY, HostPlan, ProxyPlan, Row

_PROXY = layout.PROXY.name  # on trial as nodes are (planning/trial.py), by a name that no node can have
_NGINX = str(layout.NGINX)
_MARK = File(str(layout.pending(_PROXY)), b"no node was reached yet through nginx on the files here\n")


def with_proxy(plan: HostPlan) -> HostPlan:
    """nginx passes clients on before the nodes move behind it, and goes after they have left it."""
    host, facts = plan.host, plan.facts
    files = [each for each in host.proxy.files if not is_file(facts.paths.get(each.path), each)]
    folders = [each for each in host.proxy.directories if not is_directory(facts.paths.get(each.path), each)]
    gone = [path for path in _laid_down(facts) if path not in {each.path for each in host.proxy.files}]
    pending = facts.paths.get(_MARK.path) is not None
    idle = bool(host.proxy.files) and not _runs(facts)
    if not (files or folders or gone or pending or idle):
        return plan
    actions = tuple(_actions(files, gone))
    settle = trial.settle(_PROXY) if host.proxy.files else (Remove(str(layout.PROXY)),)
    back = (trial.put_back(_PROXY), ReloadProxy(_NGINX), *trial.settle(_PROXY))
    rows = tuple(_rows(host, facts, files, gone)) or (_row(host, CHANGE, _state(facts, pending), actions=actions),)
    others = tuple(each for each in plan.rows if each.operation != "inventory")
    return replace(plan, rows=others, proxy=ProxyPlan(rows, actions, settle, back, goes=not host.proxy.files))


def _actions(files: list[File], gone: list[str]) -> Iterator[Action]:
    folder, mark = str(layout.former(_PROXY)), _MARK.path
    yield MakeDirectory(PROXY_FOLDER)
    yield Keep(folder, (*(each.path for each in files), *gone), mark)
    yield PutFile(_MARK)
    yield from map(PutFile, files)
    yield from map(Remove, gone)
    yield ReloadProxy(_NGINX, folder, mark)


def unfit_proxy(host: DesiredHost, facts: HostFacts) -> list[HostError]:
    """Why nginx can not stand in front of the host's nodes."""
    if not host.proxy.files:
        return []
    name, where = host.target.name, f"sites.{host.target.site}.hosts.{host.target.name}.proxy"
    if not facts.nginx:
        what, why = f"host {name} has no nginx", "the topology asks for it in front of the host's nodes"
        return [HostError("nginx-missing", what, where=where, why=why, next="sudo apt-get install nginx-light there")]
    return [
        HostError(
            "port-in-use",
            f"port {port} of host {name} is in use",
            where=where,
            why=f"{facts.ports[port]} listens where nginx is to pass clients on",
            next="stop that program, or give the proxy another port in the topology",
        )
        for port in host.proxy.ports
        if port in facts.ports and not facts.ports[port].startswith("nginx (")
    ]


def _laid_down(facts: HostFacts) -> list[str]:
    """The files of an earlier proxy that are still there."""
    listed = facts.inventory.files if facts.inventory else {}
    ours = [path for path in listed if path in (_NGINX, f"{layout.PROXY}/{path.rpartition('/')[2]}")]
    return [path for path in ours if facts.paths.get(path) is not None]


def _runs(facts: HostFacts) -> bool:
    unit = facts.units.get(layout.NGINX_UNIT)
    return unit is not None and unit.active in ("active", "reloading") and unit.enabled == "enabled"


def _state(facts: HostFacts, pending: bool) -> str:
    if pending:
        return "nginx has not taken its files"
    return "nginx has folders of another owner or mode" if _runs(facts) else "nginx is not running -> running"


def _rows(host: DesiredHost, facts: HostFacts, files: list[File], gone: list[str]) -> list[Row]:
    """A new proxy is one row; so is one that goes."""
    there = facts.paths.get(_NGINX) is not None
    if host.proxy.files and not there:
        ports = ", ".join(map(str, host.proxy.ports))
        return [_row(host, ADD, f"nginx at port {ports}", actions=tuple(map(PutFile, files)))]
    if not host.proxy.files:
        return [_row(host, DESTROY, "nginx passes nobody on any more", actions=tuple(map(Remove, gone)))]
    rows = [
        _row(
            host,
            CHANGE,
            f"{each.path.rpartition('/')[2]} differs",
            actions=(PutFile(each),),
            diff=file_diff(each, facts),
        )
        for each in files
    ]
    return rows + [_row(host, DESTROY, path.rpartition("/")[2], actions=(Remove(path),)) for path in gone]


def _row(host: DesiredHost, sign: str, change: str, *, actions: tuple[Action, ...], diff: str = "") -> Row:
    target, commands = host.target, tuple(each.command for each in actions)
    where = ("sites", target.site, "hosts", target.name, *(("proxy",) if host.proxy.files else ()))
    return Row(target.site, target.name, "", sign, "proxy", change, where, commands, diff)
