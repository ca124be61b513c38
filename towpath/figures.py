"""What a plan would mean for what the running nodes hold: filters that fit nothing (D9), what cleanup would take under
changed rules, whether a new replica fits. Nodes are asked at once, with a deadline each; who was not asked is named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from oci_wire.errors import RegistryError
from promotions.cleanup_changes import NONE, CleanupChange, changed, rules
from promotions.outcome import Refused
from promotions.registries import Address, RemoteRegistries
from sites.desired import layout
from sites.hosts import HostError
from sites.planning.host_plan import CHANGE, HostPlan, Row
from sites.planning.space import newcomers, with_space
from sites.settings.credentials import ENGINE
from sites.state import read_json, write_json
from topology.findings import Severity
from topology.model import ExternalNode, Placed
from topology.sizes import binary
from towpath.output import Output
from towpath.workspace import Workspace

if TYPE_CHECKING:
    from promotions.cleanup import Cleaner, Preview
    from sites.planning.deployment import Deployment
    from sites.rollout.ssh import SshHosts
    from topology.filters import Filter

FILTER_SECONDS = 4.0  # for one node
PREVIEW_SECONDS = 20.0  # for one scope: its whole content is walked
T = TypeVar("T")
Plans = Mapping[str, HostPlan]


@dataclass(frozen=True, slots=True)
class Silent:
    """A node that could not be asked."""

    node: str
    why: str


async def unmatched_filters(workspace: Workspace, deployment: Deployment, plans: Plans, out: Output) -> None:
    """Warns of filters that fit nothing live."""
    from topology.filters import filters
    from topology.report import as_records, as_text

    wanted = {node: some for node, some in filters(workspace.topology).items() if _may_hold(workspace, node, plans)}
    known = {name: Address(url, ENGINE, deployment.engine, deployment.trust) for name, url in deployment.urls.items()}
    async with RemoteRegistries(deployment.topology, known) as registries:
        asked = (_unmatched(deployment, registries, node, some, plans) for node, some in wanted.items())
        answers = await asyncio.gather(*asked)
    document, found = workspace.loaded.document, []
    for node, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, Silent):
            _say_silent(out, answer, "whether its filters fit anything")
        elif document is not None:
            found += [document.breached("D9", each.breach(node), Severity.WARNING) for each in answer]
    for each, record in zip(found, as_records(found), strict=True):
        out.emit({"type": "finding", **record}, as_text([each]))


def cleanup_changes(workspace: Workspace) -> tuple[CleanupChange, ...]:
    """Against the rules that the last apply left; none before the first."""
    file = workspace.state.cleanup
    return changed(read_json(file), workspace.topology) if file.is_file() else ()


def cleanup_rows(workspace: Workspace) -> list[Row]:
    """A row for each scope whose rules change: the controller's work, at the scope's primary."""
    rows = []
    for each in cleanup_changes(workspace):
        node = workspace.topology.primary_name(each.scope)
        site = getattr(workspace.topology.nodes[node], "site", "")
        host = getattr(workspace.topology.nodes[node], "host", "")
        rows.append(Row(site, host, node, CHANGE, "cleanup", str(each), ("scopes", each.scope, "cleanup")))
    return rows


def applied(workspace: Workspace, out: Output) -> None:
    """Remembers the cleanup rules and the edges as applied."""
    from towpath.edge_rows import edge_changes, remember_edges

    first = not workspace.state.cleanup.is_file()
    changed_rules = [f"cleanup of {each.scope}" for each in cleanup_changes(workspace)]
    changed_rules += [] if first else [f"{each.kind} {each.name}" for each in edge_changes(workspace)]
    if changed_rules:
        text = f"{', '.join(changed_rules)}: a controller that runs takes this in when it is started again"
        out.note({"type": "warning", "warning": "controller", "changed": changed_rules, "text": text}, text)
    write_json(workspace.state.cleanup, rules(workspace.topology))
    remember_edges(workspace)


async def next_cleanups(workspace: Workspace, out: Output) -> None:
    """Says what the next cleanup of each scope with changed rules would take."""
    scopes = [each.scope for each in cleanup_changes(workspace) if each.is_ != NONE]
    if not scopes:
        return
    from towpath.engine import opened

    async with opened(workspace) as parts:
        answers = await asyncio.gather(*(_preview(workspace, parts.cleaner, each) for each in scopes))
    for scope, answer in zip(scopes, answers, strict=True):
        if isinstance(answer, Silent):
            _say_silent(out, answer, f"what the next cleanup of {scope} deletes (towpath cleanup {scope} --dry-run)")
            continue
        going, all_, frees = len(answer.going), len(answer.decisions), answer.frees
        text = f"! next cleanup of {scope} deletes {going:,} of {all_:,} tags, frees {binary(frees)}"
        text += f"; more than {answer.max_percent:g} %, so it waits for --confirm" if answer.needs_confirm else ""
        out.emit(
            {"type": "warning", "warning": "cleanup", "scope": scope, "deletes": going, "of": all_, "frees": frees},
            text,
        )


async def with_needed_space(deployment: Deployment, hosts: SshHosts, plans: Plans, out: Output) -> dict[str, HostPlan]:
    """The plans whose rows of new replicas say what they need; warns of what does not fit."""
    new = newcomers(deployment.topology, plans)
    sources = {each.source: each.source_host for each in new}
    answers = await asyncio.gather(*(_held(deployment, hosts, *each, plans) for each in sources.items()))
    said = dict(zip(sources, answers, strict=True))
    held = {source: answer for source, answer in said.items() if isinstance(answer, int)}
    unknown = {source: answer.why for source, answer in said.items() if isinstance(answer, Silent)}
    shown, sentences = with_space(plans, new, held, unknown)
    for each in sentences:
        out.emit({"type": "warning", "warning": "space", "text": each}, f"! {each}")
    return shown


async def _unmatched(
    deployment: Deployment, registries: RemoteRegistries, node: str, some: Sequence[Filter], plans: Plans
) -> tuple[Filter, ...] | Silent:
    from oci_wire.registry import Call
    from promotions.live_filters import unmatched

    if why := _not_running(deployment, node, plans):
        return Silent(node, why)
    return await _in_time(node, FILTER_SECONDS, unmatched(registries.of(node), Call(ENGINE), some))


async def _preview(workspace: Workspace, cleaner: Cleaner, scope: str) -> Preview | Silent:
    node = workspace.topology.primary_name(scope)
    return await _in_time(node, PREVIEW_SECONDS, cleaner.preview(scope))


async def _held(deployment: Deployment, hosts: SshHosts, node: str, host: str, plans: Plans) -> int | Silent | None:
    """Bytes; None of a primary that is new itself, and so empty."""
    if host not in plans:
        return Silent(node, "it stands on no host of ours")
    if _is_new(node, plans):
        return None
    folder = str(layout.data(node))
    try:
        return (await hosts.sizes(host, [folder]))[folder]
    except HostError as error:
        return Silent(node, error.what)


async def _in_time(node: str, seconds: float, work: Awaitable[T]) -> T | Silent:
    """What it gives, or why the node did not say."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return Silent(node, f"no whole answer within {seconds:g} s")
    except RegistryError as error:
        return Silent(node, error.message)
    except Refused as error:
        return Silent(node, error.reason)


def _may_hold(workspace: Workspace, node: str, plans: Plans) -> bool:
    """A node that this plan adds holds nothing."""
    return not isinstance(workspace.topology.nodes[node], Placed) or not _is_new(node, plans)


def _not_running(deployment: Deployment, node: str, plans: Plans) -> str:
    if isinstance(deployment.topology.nodes[node], ExternalNode):
        return "a registry of somebody else"
    unit = layout.unit(node)
    states = [plan.facts.units[unit].active for plan in plans.values() if unit in plan.facts.units]
    return "" if "active" in states else f"it is {states[0] if states else 'not there'}"


def _is_new(node: str, plans: Plans) -> bool:
    return any(
        (row.sign, row.operation, row.node) == ("+", "node", node) for plan in plans.values() for row in plan.all_rows
    )


def _say_silent(out: Output, silent: Silent, what: str) -> None:
    record = {"type": "warning", "warning": "not-asked", "node": silent.node, "why": silent.why}
    out.emit(record, f"! {silent.node} did not say {what}: {silent.why}")
