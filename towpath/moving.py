"""Verbs that bring places to what the topology says: replicate, cleanup."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

from cyclopts import Parameter

from oci_wire.registry import Call
from promotions.cleanup import Preview
from promotions.outcome import Refused
from promotions.refill import reverse
from promotions.replicate import ReplicationReport
from promotions.retention import Decision
from topology.model import Replication
from topology.sizes import binary
from towpath.engine import Parts, opened
from towpath.exits import Exit
from towpath.image_names import scope_of
from towpath.output import PLAIN, Options, Output
from towpath.problem import Problem
from towpath.progress import watching
from towpath.workspace import HERE, Where

Confirm = Annotated[bool, Parameter(negative="", help="Yes to removing more than the usual share at once.")]


async def replicate(
    replication: Annotated[str, Parameter(help="The replication's id in the topology.")],
    repository: Annotated[str, Parameter(help="Only this repository.")] = "",
    /,
    *,
    giver: Annotated[
        str,
        Parameter(name="--from", help="The other way: give the source what it lacks of this target. Deletes nothing."),
    ] = "",
    confirm: Confirm = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Bring the targets of a replication up to date now: closures first, then tags. Exit 7 when some targets failed."""
    out, workspace = options.open(), where.open()
    edge = workspace.topology.replication(replication)
    if edge is None:
        known = ", ".join(each.id for each in workspace.topology.replications) or "none"
        raise Problem(
            "unknown-name", f"no replication is called {replication!r}", next=f"known: {known}", exit=Exit.USAGE
        )
    if giver:
        edge = _the_other_way(edge, giver)
    reports: list[ReplicationReport] = []
    with watching(out) as watch:
        async with opened(workspace, watch=watch, confirm=confirm, refill=bool(giver)) as parts:
            if repository:
                await _check_there(parts, edge, repository)
                reports.append(await parts.replicator.repository(edge, repository))
            else:
                reports += [report async for report in parts.replicator.everything(edge)]
    for report in reports:
        _say(out, report)
    return _exit_of(reports)


def _the_other_way(edge: Replication, giver: str) -> Replication:
    """Raises Problem."""
    try:
        return reverse(edge, giver)
    except Refused as error:
        raise Problem("unknown-name", error.reason, next=error.remedy, exit=Exit.USAGE) from None


async def _check_there(parts: Parts, edge: Replication, repository: str) -> None:
    """Raises NameUnknown: a name misspelt must not read as a replication that succeeded."""
    source = parts.replicator.registries.place(edge.source, repository)
    await source.registry.tags(Call(), source.repository, limit=1)


def _say(out: Output, report: ReplicationReport) -> None:
    for target in report.targets:
        moved = f"{len(target.moved)} tags moved, {len(target.deleted)} removed, {binary(target.sent)} sent"
        lag = f", {target.lag:.1f} s after the push" if target.lag is not None else ""
        record: dict[str, Any] = {
            "replication": report.replication,
            "repository": report.repository,
            "target": target.node,
            "moved": list(target.moved),
            "deleted": list(target.deleted),
            "sent": target.sent,
            "lag": target.lag,
            "problem": target.problem,
        }
        mark = "✗" if target.problem else "✓"
        out.emit(record, f"{mark} {report.repository} -> {target.node}: {target.problem or moved + lag}")


def _exit_of(reports: list[ReplicationReport]) -> Exit:
    targets = [target for report in reports for target in report.targets]
    failed = [target for target in targets if target.problem]
    if not failed:
        return Exit.DONE
    return Exit.FAILED if len(failed) == len(targets) else Exit.SOME_SITES_FAILED


async def cleanup(
    scope: Annotated[str, Parameter(help="The scope to clean up.")],
    /,
    *,
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would go, and why; remove nothing.")] = False,
    confirm: Confirm = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Apply a scope's cleanup rules now. Exit 5 when so much would go that a person must confirm it."""
    out, workspace = options.open(), where.open()
    scope_of(workspace, scope)
    async with opened(workspace) as parts:
        if dry_run:
            preview = await parts.cleaner.preview(scope)
            _show(out, preview, preview.going)
            _say_what_was_not_done(out, preview)
            out.talk(
                f"would remove {len(preview.going)} of {len(preview.decisions)} tags, frees {binary(preview.frees)}"
            )
            return Exit.DONE
        return await _clean(out, parts, scope, confirm)


async def _clean(out: Output, parts: Parts, scope: str, confirm: bool) -> Exit:
    cleaned = await parts.cleaner.run(scope, confirm=confirm, by=f"local:{getpass.getuser()}")
    if cleaned.waits:
        next_step = f"look: towpath cleanup {scope} --dry-run; then: towpath cleanup {scope} --confirm"
        raise Problem("needs-confirm", cleaned.waits, next=next_step, exit=Exit.WAITING)
    _show(out, cleaned.preview, cleaned.removed)
    _say_what_was_not_done(out, cleaned.preview)
    out.talk(f"removed {len(cleaned.removed)} of {len(cleaned.preview.decisions)} tags")
    return Exit.DONE


def _say_what_was_not_done(out: Output, preview: Preview) -> None:
    for each in preview.not_done:
        out.emit({"scope": preview.scope, "not_done": each}, f"! {preview.scope}: {each}")


def _show(out: Output, preview: Preview, decisions: tuple[Decision, ...]) -> None:
    for each in decisions:
        fact = each.fact
        record = {
            "scope": preview.scope,
            "repository": fact.repository,
            "tag": fact.tag,
            "digest": fact.digest,
            "rule": each.rule,
            "reason": each.reason,
        }
        out.emit(
            record, f"- {preview.scope}/{fact.repository}:{fact.tag}  {fact.digest[:19]}  {each.rule}: {each.reason}"
        )
