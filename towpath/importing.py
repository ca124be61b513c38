"""The verb that takes over what runs on the hosts already, when a state folder or a host's record is new or lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from towpath.deploy import USUAL, Ssh, claim
from towpath.exits import Exit
from towpath.output import PLAIN, Options, Output
from towpath.plan_shown import ended, not_asked
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from sites.hosts import HostError
    from sites.planning.deployment import Deployment
    from sites.planning.facts import HostFacts
    from sites.rollout.ssh import SshHosts

COLUMNS = ("site", "host", "node", "state", "taken_over")


async def take_over(
    *hosts: Annotated[str, Parameter(help="Only these hosts (default: all).")],
    adopt: Annotated[
        bool,
        Parameter(negative="", help="Also where no node is known to the topology and no record says whose they are."),
    ] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show what is there, and write nothing.")] = False,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Take over what runs on the hosts, so that the next plan knows it: for a state folder or a host's record that is new
    or lost. Nothing that runs is changed.

    Exits 7 when some hosts did not answer: the others are taken over."""
    from sites.hosts import HostErrors
    from sites.planning.adoption import adopted
    from sites.planning.deployment import deployment as deployment_of
    from sites.remembered import read_hosts
    from sites.state import Runs

    out, workspace, now = options.open(), where.open(), datetime.now(UTC)
    workspace.state.check(workspace.topology.metadata.name, Runs.HOSTS)
    async with ssh.hosts(workspace) as reached:
        _check_names(hosts, reached)
        if not dry_run:
            await _secrets_back(workspace, reached, hosts or (*reached.targets,), out)
        claim(workspace, out)
        deployment = deployment_of(workspace.topology, workspace.state, now)
        with workspace.state.locked():
            deployment = replace(deployment, before=read_hosts(workspace.state))
            deployment, facts, silent = await _looked(deployment, reached, hosts)
            if not facts:
                raise HostErrors(list(silent.values()))
            found = {name: adopted(deployment, name, each, anyway=adopt) for name, each in facts.items()}
            if errors := [error for each in found.values() for error in each.errors]:
                raise HostErrors(errors)
            _show(deployment, facts, {name: each.nodes for name, each in found.items()}, out)
            records = {name: each.record for name, each in found.items() if each.record is not None}
            if not dry_run:
                await _write(deployment, reached, records, anyway=adopt)
                _remember(workspace, deployment, facts)
    return ended(out, "import", _told(reached, records, silent, out, dry_run=dry_run), dryRun=dry_run)


def _check_names(names: Collection[str], reached: SshHosts) -> None:
    for name in names:
        if name not in reached.targets:
            listed = ", ".join(reached.targets)
            raise Problem("unknown-name", f"there is no host {name!r}", next=f"known: {listed}", exit=Exit.USAGE)


async def _looked(
    deployment: Deployment, reached: SshHosts, names: Collection[str]
) -> tuple[Deployment, dict[str, HostFacts], dict[str, HostError]]:
    """All hosts say which machines they are; the facts and errors are of the chosen ones."""
    facts, silent = await reached.facts_where_possible({**deployment.hosts, **deployment.left})
    deployment, known = deployment.recognised(facts)
    asked = {*deployment.hosts, *deployment.left} - {*known.beyond}
    chosen = {name for name in asked if name in names or not names}
    silent = {name: each for name, each in silent.items() if name in chosen}
    beyond = {name: each for name, each in known.beyond.items() if name in names or not names}
    for name in names:
        if name not in asked and name not in beyond:
            why = f"it is another one: {'; '.join(known.notes)}"
            raise Problem("unknown-name", f"there is no host {name!r} any more", why=why, exit=Exit.USAGE)
    return deployment, {name: each for name, each in facts.items() if name in chosen}, {**silent, **beyond}


async def _secrets_back(workspace: Workspace, reached: SshHosts, names: Collection[str], out: Output) -> None:
    """Certificates and robots' logins that a lost state folder had issued, so that no node must restart on new ones. Hosts
    that this folder applied to already are left out: it has the newer ones."""
    from sites.desired import layout
    from sites.desired.inventory import targets_of
    from sites.hosts import HostError
    from sites.planning.adoption import issued_on, of_another
    from sites.remembered import read_hosts
    from sites.state import write_private

    known = read_hosts(workspace.state)
    fresh = {name: each for name, each in targets_of(workspace.topology).items() if name in names and name not in known}
    for name, target in fresh.items():
        places = issued_on(workspace.topology, target, workspace.state)
        try:
            said = await reached.contents(name, [*places, str(layout.INVENTORY)])
        except HostError:  # said below, with all that did not answer
            continue
        if of_another(said.pop(str(layout.INVENTORY), ""), workspace.topology.metadata.name):
            continue  # refused below
        if said:
            workspace.state.claim(workspace.topology.metadata.name, workspace.file, _on_hosts())
        for path, text in said.items():
            places[path].parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(places[path], text.encode())
        if said:
            out.talk(f"{name}: {len(said)} certificates, keys and logins of its nodes are here again")


def _on_hosts() -> Any:
    from sites.state import Runs

    return Runs.HOSTS


async def _write(deployment: Deployment, reached: SshHosts, names: Collection[str], *, anyway: bool) -> None:
    """As it is under the lock: another run may have written it meanwhile. Raises HostErrors: locks that somebody else
    holds, and hosts that are not to be taken over any more; then nothing is written."""
    from sites.desired import layout
    from sites.desired.files import File
    from sites.hosts import HostErrors
    from sites.planning.actions import PutFile
    from sites.planning.adoption import adopted
    from sites.rollout.locks import locked

    if not names:
        return
    hosts = {**deployment.left, **deployment.hosts}
    async with locked(reached, list(names), f"import of {deployment.topology.metadata.name}") as held:
        facts, silent = await reached.facts_where_possible({name: hosts[name] for name in names})
        found = {name: adopted(deployment, name, each, anyway=anyway) for name, each in facts.items()}
        if errors := [*silent.values(), *(error for each in found.values() for error in each.errors)]:
            raise HostErrors(errors)
        for name, each in found.items():
            if each.record is not None:
                put = PutFile(File(str(layout.INVENTORY), each.record, 0o600))
                await reached.apply(name, (put,), held[name])


def _remember(workspace: Workspace, deployment: Deployment, facts: Mapping[str, HostFacts]) -> None:
    from sites.planning.records import nodes_of
    from sites.remembered import as_applied, with_leaving, write_hosts

    hosts = dict(deployment.before)
    for name, each in facts.items():
        there = nodes_of(each)
        if name in deployment.hosts and there:
            host = replace(deployment.protected_on(name, each), machine=each.machine_id)
            leaving = there - {node.name for node in host.nodes}
            trash = hosts[name].trash if name in hosts else {}
            hosts[name] = with_leaving(as_applied(host, deployment.urls, trash), hosts.get(name), leaving)
    workspace.state.write_addresses(deployment.urls)
    write_hosts(workspace.state, hosts)


def _show(
    deployment: Deployment, facts: Mapping[str, HostFacts], found: Mapping[str, Mapping[str, str]], out: Output
) -> None:
    from sites.desired import layout

    hosts = {**deployment.left, **deployment.hosts}
    rows: list[dict[str, Any]] = []
    for name, nodes in found.items():
        for node, what in nodes.items():
            unit = facts[name].units.get(layout.unit(node))
            state = unit.active if unit and unit.active else "not there"
            shown = {"site": hosts[name].target.site, "host": name, "node": node, "state": state}
            rows.append({"type": "node", **shown, "taken_over": what})
        if not nodes:
            out.talk(f"{name}: nothing of ours is there")
    if rows:
        out.rows(rows, COLUMNS)


def _told(
    reached: SshHosts, records: Collection[str], silent: Mapping[str, HostError], out: Output, *, dry_run: bool
) -> Exit:
    written = "would be written" if dry_run else "is written anew"
    for name in records:
        out.note({"type": "record", "host": name, "written": not dry_run}, f"{name}: its record {written}")
    for name, error in silent.items():
        text = f"{name}: not looked at: {error.what} ({error.next})"
        not_asked(out, name, reached.targets[name].site, error, text)
    out.talk("Nothing was changed." if dry_run else "Nothing that runs was changed. What differs: towpath plan")
    return Exit.SOME_SITES_FAILED if silent else Exit.DONE
