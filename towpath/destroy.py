"""The verb that undoes apply: every node leaves its host."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from towpath.deploy import USUAL, Ssh, deployment_of
from towpath.exits import Exit
from towpath.leaving import Planned, planned, remember
from towpath.output import PLAIN, Options, Output
from towpath.plan_shown import show, told
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace


async def destroy(
    name: Annotated[str | None, Parameter(help="The topology's name, to show that it is meant.")] = None,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", help="Do it, when the name is given, too.")] = False,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Stop and remove every node of the topology on its host. The data goes to the trash there.

    Without --yes and the topology's name it only shows what would go. Refuses while a node is protected."""
    from sites.rollout.canary import Gate
    from sites.rollout.locks import locked
    from sites.rollout.rolling import Rollout

    out, workspace = options.open(), where.open()
    deployment = deployment_of(workspace, out)
    with workspace.state.locked():
        async with ssh.hosts(workspace) as hosts:
            found = await planned(deployment, hosts, everything=True)
            show(workspace, found.plans, out, rules=False)
            if not found.changing:
                out.talk("Nothing to do.")
                return Exit.DONE
            _check(found, workspace)
            _confirm(workspace, name, yes=yes, ask=not options.no_input)
            async with locked(hosts, found.changing, f"destroy of {workspace.topology.metadata.name}") as locks:
                found = found.under(locks, await planned(deployment, hosts, everything=True))
                _check(found, workspace)
                gate = Gate(deployment.engine, deployment.trust)
                rollout = Rollout(
                    deployment.topology, hosts, found.plans, {}, gate, locks, lambda host, said: _say(out, host, said)
                )
                results = await rollout.run(())
        remember(workspace.state, deployment, found, results)
    return told(results, out, "Done: no node is left. Their data is in /var/lib/towpath/.trash of each host.")


def _say(out: Output, host: str, said: str) -> None:
    out.talk(f"{host}  {said}")


def _check(found: Planned, workspace: Workspace) -> None:
    """Raises HostErrors (exit 4): every node that is protected, and every host that cannot be asked."""
    from sites.hosts import HostError, HostErrors

    errors = [
        HostError(
            "removal-protected",
            f"node {each.node} is protected; nothing was changed",
            where=f"host {host}",
            why=f"protected by its {' and '.join(each.protected)}",
            next="write `protect: false` there, towpath apply, then destroy again",
        )
        for host, each in found.leaving
        if each.protected
    ]
    if errors or found.unreachable:
        raise HostErrors([*errors, *found.unreachable.values()])


def _confirm(workspace: Workspace, name: str | None, *, yes: bool, ask: bool) -> None:
    """Raises Problem (exit 4) unless it is meant."""
    wanted = workspace.topology.metadata.name
    if yes and name is None and ask and sys.stdin.isatty():
        print(f"Type the topology's name to remove all of its nodes ({wanted}): ", end="", file=sys.stderr, flush=True)
        name = sys.stdin.readline().strip()
    if yes and name == wanted:
        return
    why = "--yes was not given" if not yes else f"{name!r} is not its name" if name else "its name was not given"
    raise Problem(
        "destroy-unconfirmed",
        f"nothing was removed: to remove all nodes of {wanted} wants --yes and its name",
        why=why,
        next=f"look at the rows above; if all of them may go: towpath destroy {wanted} --yes",
        exit=Exit.REFUSED,
    )
