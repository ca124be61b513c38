"""What a person reads of a plan, of drift and of a roll-out's end: rows, counts and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from towpath.endpoints import say_all
from towpath.exits import Exit
from towpath.output import Output
from towpath.workspace import Workspace

if TYPE_CHECKING:
    from sites.planning.host_plan import HostPlan, Row
    from sites.rollout.rolling import HostResult

PLAN_COLUMNS = ("site", "host", "", "node", "operation", "change", "place")
RESULT_COLUMNS = ("host", "site", "outcome", "why", "next")


def show(
    workspace: Workspace, plans: Mapping[str, HostPlan], out: Output, *, full: bool = False, rules: bool = True
) -> None:
    """The rows that change something; unchanged nodes are counted, and with ``full`` named. ``rules``: also those of
    cleanup and edges, which are nobody's but the topology's."""
    from sites.planning.clocks import clock_warnings
    from sites.planning.drop_ins import warnings
    from towpath.edge_rows import edge_rows
    from towpath.figures import cleanup_rows

    of_hosts = [row for each in plans.values() for row in each.all_rows]
    rows = [*of_hosts, *cleanup_rows(workspace), *edge_rows(workspace)] if rules else of_hosts
    show_rows(workspace, rows, out, full=full)
    unchanged = [(host, node.node.name) for host, each in plans.items() for node in each.nodes if not node.actions]
    if full and not out.json:
        for host, node in unchanged:
            print(f"{plans[host].host.target.site}  {host}  =  {node}  unchanged", flush=True)
    for host, each in plans.items():
        for said in warnings(host, each.facts):
            out.talk(said)
        if by := each.facts.lock:
            out.talk(f"{host} is locked: {by.get('owner')}, since {by.get('since')} (lock {by.get('id')})")
    for warning in clock_warnings(plans):
        out.talk(warning)
    out.talk(f"Plan: {_counted(rows)}. {len(unchanged)} unchanged{'' if full or not unchanged else ' (--full)'}.")
    say_all(workspace, out)


def show_rows(workspace: Workspace, rows: Sequence[Row], out: Output, *, full: bool) -> None:
    """A table, or with ``full`` each row with its commands and differences."""
    if full and not out.json:
        for row in rows:
            print("\n".join(_in_full(workspace, row)), flush=True)
    elif rows:
        out.rows([_record(workspace, each) for each in rows], PLAN_COLUMNS)


def drifted_counted(rows: Sequence[Row]) -> str:
    from sites.planning.drift import DROP_IN

    left = sum(row.operation == DROP_IN for row in rows)
    back = "towpath apply puts it back." if left < len(rows) else ""
    stay = f"{left} drop-ins are an operator's: apply leaves them (systemctl revert UNIT)." if left else ""
    return " ".join(each for each in (f"{len(rows)} differences.", back, stay) if each) if rows else "No drift."


def _counted(rows: Iterable[Row]) -> str:
    signs = [each.sign for each in rows]
    return f"{signs.count('+')} to add, {signs.count('~')} to change, {signs.count('-')} to destroy"


def _record(workspace: Workspace, row: Row) -> dict[str, Any]:
    document = workspace.loaded.document
    spot = document.spot(row.path) if document else None
    place = f"{workspace.file}:{(spot.key or spot.value).line + 1}" if spot else ""
    shown = {"site": row.site, "host": row.host, "": row.sign, "node": row.node, "operation": row.operation}
    return {**shown, "change": row.change, "place": place, "commands": list(row.commands), "diff": row.diff}


def _in_full(workspace: Workspace, row: Row) -> list[str]:
    record = _record(workspace, row)
    head = "  ".join(str(record[each]) for each in PLAN_COLUMNS if record[each])
    return [head, *(f"    $ {each}" for each in row.commands), *(f"    {line}" for line in row.diff.splitlines())]


def told(results: list[HostResult], out: Output, done: str = "Done: every node serves.") -> Exit:
    failed = [each for each in results if each.error is not None]
    if not failed:
        out.talk(done)
        return Exit.DONE
    out.rows([_result(each) for each in results], RESULT_COLUMNS)
    for each in failed:
        assert each.error is not None
        out.talk(f"\n{each.host}: {each.error.what}\n  where: {each.error.where}\n  why:   {each.error.why}")
    return Exit.SOME_SITES_FAILED


def _result(result: HostResult) -> dict[str, Any]:
    error = result.error
    return {
        "host": result.host,
        "site": result.site,
        "outcome": result.outcome,
        "code": error.code if error else None,
        "why": error.what if error else None,
        "next": error.next if error else None,
    }
