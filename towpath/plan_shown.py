"""What a person reads of a plan, of drift and of a roll-out's end: rows, counts and warnings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from towpath.endpoints import say_all
from towpath.exits import Exit
from towpath.output import Output
from towpath.workspace import Workspace

if TYPE_CHECKING:
    from sites.hosts import HostError
    from sites.planning.host_plan import HostPlan, Row
    from sites.rollout.rolling import HostResult

PLAN_COLUMNS = ("site", "host", "", "node", "operation", "change", "place")
RESULT_COLUMNS = ("host", "site", "outcome", "what", "next")
AGAIN = "when the others are mended, run the same command again: it goes on here"
_SIGNS = {"add": "+", "change": "~", "destroy": "-"}


def show(
    workspace: Workspace,
    plans: Mapping[str, HostPlan],
    out: Output,
    *,
    beside: Sequence[Row] = (),
    full: bool = False,
    rules: bool = True,
) -> None:
    """The rows that change something, and ``beside``; unchanged nodes are counted, and with ``full`` named. ``rules``: also
    the changes of cleanup rules and edges, which belong to no host."""
    from sites.planning.clocks import clock_warnings
    from sites.planning.drop_ins import warnings
    from towpath.edge_rows import edge_rows
    from towpath.figures import cleanup_rows

    of_hosts = [row for each in plans.values() for row in each.all_rows]
    rows = [*of_hosts, *cleanup_rows(workspace), *edge_rows(workspace)] if rules else of_hosts
    show_rows(workspace, [*rows, *beside], out, full=full)
    unchanged = [(host, node.node.name) for host, each in plans.items() for node in each.nodes if not node.actions]
    if full and not out.json:
        for host, node in unchanged:
            print(f"{plans[host].host.target.site}  {host}  =  {node}  unchanged", flush=True)
    for host, each in plans.items():
        for said in warnings(host, each.facts):
            out.note({"type": "warning", "warning": "drop-in", "host": host, "text": said}, said)
        if by := each.facts.lock:
            text = f"{host} is locked: {by.get('owner')}, since {by.get('since')} (lock {by.get('id')})"
            out.note({"type": "lock", "host": host, "held": by}, text)
    for warning in clock_warnings(plans):
        out.note({"type": "warning", "warning": "clock", "text": warning}, warning)
    counts = {name: sum(row.sign == sign for row in rows) for name, sign in _SIGNS.items()}
    counted = f"{counts['add']} to add, {counts['change']} to change, {counts['destroy']} to destroy"
    hidden = "" if full or not unchanged else " (--full)"
    planned = {"type": "planned", **counts, "unchanged": len(unchanged)}
    out.note(planned, f"Plan: {counted}. {len(unchanged)} unchanged{hidden}.")
    say_all(workspace, out)


def show_rows(workspace: Workspace, rows: Sequence[Row], out: Output, *, full: bool) -> None:
    """A table, or with ``full`` each row with its commands and differences."""
    records = [_record(workspace, each) for each in rows]
    if full and not out.json:
        for row, record in zip(rows, records, strict=True):
            print("\n".join(_in_full(row, record)), flush=True)
    elif rows:
        out.rows(records if out.json else [{**each, "": each["sign"]} for each in records], PLAN_COLUMNS)


def ended(out: Output, verb: str, exit: Exit, **told: Any) -> Exit:
    """The last line for programs; gives the exit back."""
    out.record({"type": "summary", "verb": verb, "exit": int(exit), **told})
    return exit


def drifted_counted(rows: Sequence[Row]) -> str:
    from sites.planning.drift import DROP_IN, UNMANAGED

    drop_ins, unmanaged = (sum(row.operation == each for row in rows) for each in (DROP_IN, UNMANAGED))
    back = "towpath apply puts it back." if drop_ins + unmanaged < len(rows) else ""
    stay = f"{drop_ins} drop-ins are an operator's: apply leaves them (systemctl revert UNIT)." if drop_ins else ""
    left = f"{unmanaged} files are none of ours: apply leaves them." if unmanaged else ""
    return " ".join(each for each in (f"{len(rows)} differences.", back, stay, left) if each) if rows else "No drift."


def _record(workspace: Workspace, row: Row) -> dict[str, Any]:
    document = workspace.loaded.document
    spot = document.spot(row.path) if document else None
    place = f"{workspace.file}:{(spot.key or spot.value).line + 1}" if spot else ""
    shown = {"type": "row", "site": row.site, "host": row.host, "sign": row.sign, "node": row.node}
    shown |= {"operation": row.operation, "change": row.change, "place": place}
    return {**shown, "commands": list(row.commands), "diff": row.diff}


def _in_full(row: Row, record: Mapping[str, Any]) -> list[str]:
    head = "  ".join(str(record[each or "sign"]) for each in PLAN_COLUMNS if record[each or "sign"])
    return [head, *(f"    $ {each}" for each in row.commands), *(f"    {line}" for line in row.diff.splitlines())]


def told(results: list[HostResult], out: Output, done: str) -> Exit:
    """What became of each host, and what to do there: a table when one failed, always for programs."""
    failed = [each for each in results if each.error is not None]
    if out.json or failed:
        out.rows([_result(each) for each in results], RESULT_COLUMNS)
    if not failed:
        out.talk(done)
        return Exit.DONE
    for each in failed:
        assert each.error is not None
        out.talk(f"\n{each.host}: {each.error.what}\n  where: {each.error.where}\n  why:   {each.error.why}")
    return Exit.SOME_SITES_FAILED


def _result(result: HostResult) -> dict[str, Any]:
    error, told = result.error, {"type": "result", "host": result.host, "site": result.site, "outcome": result.outcome}
    if error is None:
        on = AGAIN if result.outcome == "not reached" else None
        return {**told, "code": None, "what": None, "where": None, "why": None, "next": on}
    on = error.next or "mend that, then run the same command again: it goes on from there"
    return {**told, **as_record(error), "next": on}


def as_record(error: HostError) -> dict[str, str]:
    """Of a line for programs."""
    return {"code": error.code, "what": error.what, "where": error.where, "why": error.why, "next": error.next}


def not_asked(out: Output, host: str, site: str, error: HostError, text: str) -> None:
    """The result of a host that does not answer. ``text``: for people."""
    out.note({"type": "result", "host": host, "site": site, "outcome": "not asked", **as_record(error)}, text)


def unchanged(plans: Mapping[str, HostPlan]) -> list[HostResult]:
    """What became of hosts that had nothing to do."""
    from sites.rollout.rolling import HostResult, Outcome

    return [HostResult(name, each.host.target.site, Outcome.UNCHANGED) for name, each in plans.items()]


def watching(out: Output) -> Callable[[str, str], None]:
    """Says what happens at a host when it happens."""
    return lambda host, said: out.note({"type": "progress", "host": host, "text": said}, f"{host}  {said}")
