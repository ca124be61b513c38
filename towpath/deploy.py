"""Verbs that bring a topology to its hosts over SSH: plan, apply, drift, unlock."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sites.state import Runs
from towpath.exits import Exit
from towpath.leave_options import NOBODY, Leave
from towpath.output import PLAIN, Options, Output
from towpath.plan_shown import drifted_counted, ended, not_asked, show, show_rows, told, unchanged, watching
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from sites.planning.deployment import Deployment
    from sites.planning.host_plan import HostPlan
    from sites.rollout.rolling import HostResult
    from sites.rollout.ssh import SshHosts


@Parameter(name="*")
@dataclass(frozen=True)
class Ssh:
    """How the hosts are reached."""

    ssh_key: Annotated[
        Path | None,
        Parameter(name="--ssh-key", help="Private key file (default: $TOWPATH_SSH_KEY, else the agent and ~/.ssh)."),
    ] = None
    known_hosts: Annotated[
        Path | None,
        Parameter(name="--known-hosts", help="The hosts' public keys (default: known_hosts in the state folder)."),
    ] = None

    def hosts(self, workspace: Workspace) -> SshHosts:
        from sites.desired.inventory import targets_of
        from sites.planning.machines import elsewhere
        from sites.remembered import read_hosts
        from sites.rollout.ssh import Login, SshHosts

        now, declared = datetime.now(UTC), targets_of(workspace.topology)
        left = elsewhere(read_hosts(workspace.state), declared)
        targets = {name: each.target(name) for name, each in left.items() if not each.rests(now)} | declared
        named = self.ssh_key or (Path(os.environ["TOWPATH_SSH_KEY"]) if os.environ.get("TOWPATH_SSH_KEY") else None)
        return SshHosts(targets, Login(self.known_hosts or workspace.state.known_hosts, named))


USUAL = Ssh()
CreateSecrets = Annotated[
    bool, Parameter(name="--create-secrets", negative="", help="Make the secret files that are missing, here.")
]


async def plan(
    *,
    save: Annotated[
        Path | None, Parameter(name=["--save", "--out"], help="Keep the plan in this file, for `towpath apply FILE`.")
    ] = None,
    full: Annotated[bool, Parameter(negative="", help="Also show commands and differences.")] = False,
    detailed_exitcode: Annotated[bool, Parameter(negative="", help="Exit 3 when there is something to do.")] = False,
    create_secrets: CreateSecrets = False,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Show what apply would change on the hosts. Nothing is changed."""
    from sites.planning import saved_plan
    from towpath import figures
    from towpath.edge_rows import edge_changes
    from towpath.leaving import planned, resting_rows, talk_of

    out, workspace = options.open(), where.open()
    claim(workspace, out, create_secrets=create_secrets)
    async with reached(workspace, ssh) as (declared, hosts):
        found = await planned(declared, hosts)
        deployment = found.recognised(out)
        plans = await figures.with_needed_space(deployment, hosts, found.plans, out)
    show(workspace, plans, out, beside=resting_rows(deployment), full=full)
    talk_of(found, deployment, out)
    await figures.next_cleanups(workspace, out)
    await figures.unmatched_filters(workspace, deployment, plans, out)
    if save:
        saved_plan.save(save, saved_plan.basis(deployment, plans, workspace.file), plans)
        out.talk(f"Saved to {save}; run: towpath apply {save}")
    of_rules = figures.cleanup_changes(workspace) or edge_changes(workspace)
    pending = any(each.changes for each in plans.values()) or bool(of_rules)
    exit = Exit.CHANGES if detailed_exitcode and pending else Exit.DONE
    return ended(out, "plan", exit, pending=pending, saved=str(save) if save else None)


async def apply(
    plan: Annotated[Path | None, Parameter(help="A saved plan; refused (exit 6) when it no longer holds.")] = None,
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Show what would be done, and do nothing.")] = False,
    create_secrets: CreateSecrets = False,
    leave: Leave = NOBODY,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Bring the hosts to what the topology says: a canary host first, each node through its health gate.

    Run it again after a failure: it goes on from where it stopped."""
    from sites.rollout import addresses, locks
    from towpath import figures
    from towpath.leaving import check, goes_on, left_behind, planned, remember, resting_rows, talk_of

    out, workspace = options.open(), where.open()
    claim(workspace, out, create_secrets=create_secrets)
    with workspace.state.locked():
        async with reached(workspace, ssh) as (declared, hosts):
            deployment = leave.without_forgotten(declared, workspace.state)
            found = await planned(deployment, hosts)
            deployment = found.recognised(out)
            _check_saved(plan, deployment, found.plans, workspace)
            plans = await figures.with_needed_space(deployment, hosts, found.plans, out)
            show(workspace, plans, out, beside=resting_rows(deployment))
            await figures.next_cleanups(workspace, out)
            if dry_run:
                leave.check_names(deployment, found.plans)
                talk_of(found, deployment, out, leave)
                return ended(out, "apply", Exit.DONE, dryRun=True)
            check(found, leave, deployment)
            if found.changing:
                await addresses.check_names(deployment.public_urls(found.changing))
                async with locks.locked(hosts, found.changing, f"apply of {workspace.topology.metadata.name}") as held:
                    found = found.under(held, await planned(deployment, hosts))  # what another run did meanwhile
                    _check_saved(plan, deployment, found.plans, workspace)
                    check(found, leave, deployment)
                    goes_on(workspace.state, deployment, found, leave, out)
                    results = await _roll_out(deployment, hosts, found.plans, held, out)
                remember(workspace.state, deployment, found, results)
            else:
                goes_on(workspace.state, deployment, found, leave, out)
                results = unchanged(found.plans)
        exit = told(results, out, "Done: every node serves." if found.changing else "Nothing to do.")
        if exit is Exit.DONE:
            figures.applied(workspace, out)
    return ended(out, "apply", left_behind(found, deployment, exit, out))


async def drift(
    *,
    full: Annotated[bool, Parameter(negative="", help="Also show differences.")] = False,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Show what was changed on the hosts since the last apply, by whomever. Exit 3 when anything was."""
    from sites.planning.drift import drift as drifted

    out, workspace = options.open(), where.open()
    claim(workspace, out)
    async with reached(workspace, ssh) as (deployment, hosts):
        facts = await hosts.facts(deployment.hosts)
    deployment.insist_readable(facts)
    rows = [row for name, each in facts.items() for row in drifted(deployment.hosts[name], each)]
    untouched = [name for name, each in facts.items() if each.inventory is None and not each.there]
    lost = [name for name, each in facts.items() if each.inventory is None and each.there]
    show_rows(workspace, rows, out, full=full)
    if untouched:
        out.talk(f"never applied to: {', '.join(untouched)}")
    if lost:
        out.talk(f"without a record of what was laid down there: {', '.join(lost)}; next: towpath import")
    out.talk(drifted_counted(rows))
    return ended(
        out,
        "drift",
        Exit.CHANGES if rows else Exit.DONE,
        differences=len(rows),
        neverApplied=untouched,
        recordLost=lost,
    )


async def unlock(
    lock: Annotated[str, Parameter(help="The lock's id, as the refusal named it.")],
    /,
    *,
    ssh: Ssh = USUAL,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Take a dead run's lock off the hosts. A run that is alive after all changes nothing more there.

    Exits 7 when some hosts could not be asked: those that were are free."""
    from sites.hosts import HostErrors
    from sites.rollout.locks import unlock as unlocked

    out, workspace = options.open(), where.open()
    async with ssh.hosts(workspace) as hosts:
        found, silent = await unlocked(hosts, lock)
    if not found:
        raise HostErrors(list(silent.values()))
    held = {name: by for name, by in found.items() if by is not None}
    for name, by in found.items():
        told = {"type": "lock", "host": name, "held": by}
        if by is None:
            out.record(told)
        else:
            out.emit(told, f"{name}: held by {by.get('owner')} (lock {by.get('id')})")
    for name, error in silent.items():
        text = f"{name}: not asked, and may still be locked: {error.what} ({error.next})"
        not_asked(out, name, hosts.targets[name].site, error, text)
    out.talk(f"free: {', '.join(name for name in found if name not in held) or 'none'}")
    return ended(out, "unlock", Exit.CONFLICT if held else Exit.SOME_SITES_FAILED if silent else Exit.DONE)


def claim(workspace: Workspace, out: Output, *, create_secrets: bool = False) -> None:
    """The state folder is this topology's from here on. Says what is to be said of its secrets."""
    from towpath.first_secrets import create_missing

    for path in create_missing(workspace.topology) if create_secrets else ():
        out.note({"type": "made", "path": str(path)}, f"made {path}")
    workspace.state.check(workspace.topology.metadata.name, Runs.HOSTS)
    for finding in workspace.check_secrets():
        text = f"warning[{finding.code}]: {finding.place}: {finding.message}; {finding.help}"
        told = {"code": finding.code, "what": finding.message, "where": finding.place, "next": finding.help}
        out.warn(told, text)
    workspace.state.claim(workspace.topology.metadata.name, workspace.file, Runs.HOSTS)


@asynccontextmanager
async def reached(workspace: Workspace, ssh: Ssh) -> AsyncIterator[tuple[Deployment, SshHosts]]:
    """What the hosts must have, and the hosts: connections are made while the release is packed."""
    from sites.planning.deployment import deployment

    # Taken before it is decided whom to connect to: who rests here may be asked there, never the reverse.
    now = datetime.now(UTC)
    async with ssh.hosts(workspace) as hosts:
        yield deployment(workspace.topology, workspace.state, now), hosts


def _check_saved(
    saved: Path | None, deployment: Deployment, plans: Mapping[str, HostPlan], workspace: Workspace
) -> None:
    from sites.planning import saved_plan

    if saved:
        saved_plan.check(saved, saved_plan.basis(deployment, plans, workspace.file))


async def _roll_out(
    deployment: Deployment, hosts: SshHosts, plans: Mapping[str, HostPlan], locks: Mapping[str, Any], out: Output
) -> list[HostResult]:
    from sites.rollout.canary import Gate
    from sites.rollout.rolling import Rollout
    from sites.rollout.waves import waves

    gate = Gate(deployment.engine, deployment.trust)
    rollout = Rollout(deployment.topology, hosts, plans, deployment.urls, gate, locks, watching(out))
    idle = [name for name, each in plans.items() if each.idle]
    return await rollout.run(waves(deployment.topology, deployment.targets.values(), idle))
