"""Verbs that run a topology on this machine: up, down, status."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from sites.hosts import NodeFacts, NodeState, Start, Stop
from sites.loopback.nodes import LoopbackHosts
from sites.loopback.plan import bring_down, bring_up
from sites.settings.addresses import Address, loopback_addresses
from sites.state import Runs
from towpath import controller
from towpath.deploy import USUAL, Ssh
from towpath.endpoints import of_nodes
from towpath.exits import Exit
from towpath.host_status import host_status
from towpath.output import PLAIN, Options, Output
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

COLUMNS = ("node", "kind", "scope", "role", "site", "url", "endpoint", "state", "version")


async def up(
    *,
    detach: Annotated[bool, Parameter(negative="", help="Come back as soon as everything serves.")] = False,
    create_secrets: Annotated[bool, Parameter(negative="", help="Make the secret files that are missing.")] = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Run the whole topology on this machine: a process a node, sites as loopback addresses, and the controller.

    Ctrl-C stops it in good order; up again goes on with all data."""
    out, workspace = options.open(), where.open()
    await start(workspace, out, create_secrets=create_secrets)
    out.rows(await node_rows(workspace), COLUMNS)
    if detach:
        out.talk(f"Running. Stop with: towpath down -f {workspace.file}")
        return Exit.DONE
    out.talk("Running. Ctrl-C stops it; the data stays.")
    return await _until_told(workspace, out)


async def start(workspace: Workspace, out: Output, *, create_secrets: bool = False) -> None:
    """Brings every node of ours and the controller up. Raises HostErrors; then nothing that it started runs."""
    from sites.loopback.placement import logins_of, placements
    from sites.settings.credentials import users_of
    from sites.settings.node_settings import settings_of

    topology, state = workspace.topology, workspace.state
    state.check(topology.metadata.name, Runs.HERE)
    if create_secrets:
        from towpath.first_secrets import create_missing

        for path in create_missing(topology):
            out.talk(f"made {path}")
    for finding in workspace.check_secrets():
        out.talk(f"warning[{finding.code}]: {finding.place}: {finding.message}; {finding.help}")
    people, logins, addresses = users_of(topology), logins_of(topology), loopback_addresses(topology)
    state.claim(topology.metadata.name, workspace.file)
    _say_what_nothing_acts_on(workspace, out)
    placed = placements(topology, state, people, logins)
    desired = {name: settings_of(topology, name, where) for name, where in placed.items()}
    hosts = LoopbackHosts(state)
    with state.locked():
        out.talk(f"starting {len(desired)} nodes of {topology.metadata.name} in {state.root}")
        state.write_addresses({name: address.url for name, address in addresses.items()})
        operations = bring_up(desired, await hosts.facts())
        started = [Stop(each.node) for each in operations if isinstance(each, Start)]
        try:
            await _together(hosts.apply(operations), controller.start(workspace))
        except BaseException:  # nothing half started stays behind
            await controller.stop(workspace)
            await hosts.apply(started)
            raise


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """All at once; waits for all, then raises the first error. The controller waits for nodes that are not there."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for error in (each for each in results if isinstance(each, Exception)):
        raise error


def _say_what_nothing_acts_on(workspace: Workspace, out: Output) -> None:
    from towpath.not_acted_on import not_acted_on

    if unused := not_acted_on(workspace.topology):
        out.talk(f"declared, not acted on yet: {', '.join(unused)}")


async def down(
    *,
    site: Annotated[str | None, Parameter(help="Only the nodes of this site; the controller stays.")] = None,
    node: Annotated[str | None, Parameter(help="Only this node; the controller stays.")] = None,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Stop what `towpath up` started. The data stays."""
    out, workspace = options.open(), where.open()
    stopped = await stop(workspace, site=site, node=node)
    for each in stopped:
        out.emit({"stopped": each}, f"stopped {each}")
    if not stopped:
        out.talk("nothing was running")
    return Exit.DONE


async def stop(workspace: Workspace, *, site: str | None = None, node: str | None = None) -> list[str]:
    """Stops the controller, then the nodes; or the nodes of one site, or one node. The names of what was stopped."""
    state = workspace.running_state(Runs.HERE)
    hosts = LoopbackHosts(state)
    chosen = _chosen(workspace, site, node)
    with state.locked():
        stopped = [] if site or node else await controller.stop(workspace)
        facts = await hosts.facts()
        operations = bring_down([name for name in facts if chosen is None or name in chosen], facts)
        await hosts.apply(operations)
    return [*stopped, *(each.node for each in operations)]


def _chosen(workspace: Workspace, site: str | None, node: str | None) -> set[str] | None:
    if site is None and node is None:
        return None
    placed = {name: getattr(each, "site", None) for name, each in workspace.topology.nodes.items()}
    known, given = (set(placed), node) if node is not None else (set(workspace.topology.sites), site)
    if given not in known:
        what = "node" if node is not None else "site"
        listed = ", ".join(sorted(known))
        raise Problem("unknown-name", f"there is no {what} {given!r}", next=f"known: {listed}", exit=Exit.USAGE)
    return {name for name, its in placed.items() if (node is None or name == node) and (site is None or its == site)}


async def status(*, ssh: Ssh = USUAL, where: Where = HERE, options: Options = PLAIN) -> Exit:
    """One row a node: where it answers and how it is. Exit 7 when some of them do not serve."""
    out, workspace = options.open(), where.open()
    if workspace.running_state().runs is Runs.HOSTS:
        return await host_status(workspace, ssh, out)
    rows = await node_rows(workspace)
    out.rows(rows, COLUMNS)
    out.talk(controller.describe(workspace))
    served = [row["state"] == NodeState.READY for row in rows if row["kind"] != "external"]
    if all(served):
        return Exit.DONE
    return Exit.SOME_SITES_FAILED if any(served) else Exit.FAILED


async def node_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """A row a declared node, in the order of the file."""
    facts = await LoopbackHosts(workspace.state).facts()
    addresses = loopback_addresses(workspace.topology)
    return [_row(workspace, name, addresses, facts.get(name)) for name in workspace.topology.nodes]


def _row(workspace: Workspace, name: str, addresses: Mapping[str, Address], found: NodeFacts | None) -> dict[str, Any]:
    node = workspace.topology.nodes[name]
    url = addresses[name].url if name in addresses else getattr(node, "url", None)
    state: str = found.state if found else NodeState.STOPPED
    if node.kind == "external":
        state = "external"
    return {
        "node": name,
        "kind": node.kind,
        "scope": getattr(node, "scope", None),
        "role": getattr(node, "role", None),
        "site": getattr(node, "site", None),
        "url": url,
        "endpoint": of_nodes(workspace.topology).get(name),
        "state": state,
        "version": found.version if found else None,
    }


async def _until_told(workspace: Workspace, out: Output) -> Exit:
    """Until Ctrl-C (130) or SIGTERM (0), or until all was stopped from elsewhere. A node that dies is said."""
    told: set[str] = set()
    with sigterm_cancels() as terminated:
        try:
            while await _some_run(workspace, out, told):  # noqa: ASYNC110 - other processes are watched
                await asyncio.sleep(2)
            out.talk("all nodes were stopped from elsewhere")
            return Exit.DONE
        except asyncio.CancelledError:
            out.talk("stopping")
            await stop(workspace)
            out.talk("stopped; the data stays")
            return Exit.DONE if terminated.is_set() else Exit.INTERRUPTED


async def _some_run(workspace: Workspace, out: Output, told: set[str]) -> bool:
    facts = await LoopbackHosts(workspace.state).facts()
    for each in facts.values():
        if each.state is NodeState.DIED and each.node not in told:
            told.add(each.node)
            log = workspace.state.log(each.node)
            out.talk(f"node {each.node} died; its log is {log}; towpath up in another terminal starts it again")
    return any(each.runs for each in facts.values())


@contextmanager
def sigterm_cancels() -> Iterator[asyncio.Event]:
    """As Ctrl-C does, SIGTERM cancels the running task; the event says that it was SIGTERM."""
    loop, task, terminated = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None

    def terminate() -> None:
        terminated.set()
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield terminated
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
