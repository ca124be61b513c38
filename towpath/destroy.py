"""The verb that undoes apply: every node leaves its host."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from towpath.deploy import USUAL, Ssh, claim, reached
from towpath.exits import Exit
from towpath.leaving import Planned, left_behind, planned, protected_error, remember, resting_rows
from towpath.output import PLAIN, Options
from towpath.plan_shown import ended, show, told, unchanged, watching
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from sites.planning.deployment import Deployment


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

    Without --yes and the topology's name it only shows what would go. Refuses while a node is protected. A host that
    does not answer stays as it is (exit 7): the same command goes on there when it is back."""
    from sites.rollout.canary import Gate
    from sites.rollout.locks import locked
    from sites.rollout.rolling import Rollout

    out, workspace = options.open(), where.open()
    claim(workspace, out)
    with workspace.state.locked():
        async with reached(workspace, ssh) as (declared, hosts):
            found = await planned(declared, hosts, everything=True)
            deployment = found.recognised(out)
            show(workspace, found.plans, out, beside=resting_rows(deployment), rules=False)
            _check(found, deployment)
            if not found.changing:
                remember(workspace.state, deployment, found, unchanged(found.plans))
                exit = told(unchanged(found.plans), out, "Nothing to do.")
                return ended(out, "destroy", left_behind(found, deployment, exit, out))
            _confirm(workspace, name, yes=yes, ask=not options.no_input)
            async with locked(hosts, found.changing, f"destroy of {workspace.topology.metadata.name}") as locks:
                found = found.under(locks, await planned(deployment, hosts, everything=True))
                _check(found, deployment)
                gate = Gate(deployment.engine, deployment.trust)
                rollout = Rollout(deployment.topology, hosts, found.plans, {}, gate, locks, watching(out))
                results = await rollout.run(())
        remember(workspace.state, deployment, found, results)
    left = "Done: no node is left" + (" where we were let in." if found.unreachable else ".")
    exit = told(results, out, f"{left} Their data are in /var/lib/towpath/.trash of each host.")
    return ended(out, "destroy", left_behind(found, deployment, exit, out))


def _check(found: Planned, deployment: Deployment) -> None:
    """Raises HostErrors: every node that is protected (exit 4), also on a host that does not answer."""
    from sites.hosts import HostErrors

    errors = [protected_error(host, each.node, each.protected) for host, each in found.leaving if each.protected]
    for host in found.unreachable:
        there = deployment.before[host].nodes if host in deployment.before else {}
        declared = deployment.targets[host].nodes if host in deployment.targets else ()
        protected = {node: each.protected for node, each in there.items()}
        protected |= {node: deployment.protected(host, node) for node in declared}
        errors += [protected_error(host, node, by) for node, by in protected.items() if by]
    if errors:
        next = "write `protect: false` there, towpath apply, then destroy again"
        raise HostErrors([each.but(next=next) for each in errors])


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
