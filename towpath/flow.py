"""Verbs that move images or say how they moved: promote, why, trace, sign, replicate, cleanup."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from promotions.gates.verdict import Answer
from promotions.outcome import Ending, Outcome, Request
from towpath import controller
from towpath.access import ANYBODY, Who
from towpath.answering import explain, is_at_a_node
from towpath.engine import opened
from towpath.exits import Exit
from towpath.image_names import scope_of, split_image
from towpath.output import PLAIN, Options, Output
from towpath.problem import Problem
from towpath.progress import watching
from towpath.waiting import Replicas, held
from towpath.workspace import HERE, Where

EXITS = {
    Ending.DONE: Exit.DONE,
    Ending.NOTHING_TO_DO: Exit.DONE,
    Ending.PLANNED: Exit.DONE,
    Ending.REFUSED: Exit.REFUSED,
    Ending.WAITING: Exit.WAITING,
    Ending.CONFLICT: Exit.CONFLICT,
    Ending.FAILED: Exit.FAILED,
    Ending.ERRORED: Exit.FAILED,
    Ending.INTEGRITY: Exit.INTEGRITY,
}


async def promote(
    *what: Annotated[str, Parameter(help="EDGE REPOSITORY:TAG; or REPOSITORY:TAG with --from and --to.")],
    source: Annotated[str, Parameter(name="--from", help="The scope it stands in.")] = "",
    target: Annotated[str, Parameter(name="--to", help="The scope it should stand in.")] = "",
    dry_run: Annotated[bool, Parameter(negative="", help="Ask the gates, say what would change.")] = False,
    wait: Annotated[
        bool, Parameter(negative="", help="Stay until holds and freezes have ended and every replica shows it.")
    ] = False,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Move an image along an edge, through its gates. Killed at any point, the same command goes on from there."""
    out, workspace = options.open(), where.open()
    request = _request(what, source, target)
    principal = who.principal(workspace.topology)
    async with opened(workspace) as parts:
        with watching(out) as watch:
            outcome = await parts.engine.promote(request, principal, dry_run=dry_run, watch=watch)
            if wait and not dry_run:
                outcome = await held(parts.engine, outcome, watch, out)
        ended = say(out, outcome, request)
        if wait and not dry_run:
            starts = controller.started_by(workspace)
            await Replicas(parts.engine, out, lambda: controller.runs(workspace), starts).whole(outcome)
    return ended


async def why(
    image: Annotated[str, Parameter(help="SCOPE/REPOSITORY:TAG; or NODE/REPOSITORY:TAG, or an address.")],
    /,
    *,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """What stands between an image and the next scope: a dry run over every edge that leads out of its scope. Of an image
    at a node: who answers for it there, who was asked, and which rule forbade the rest."""
    out = options.open()
    here = where.open_if_any()
    if is_at_a_node(here, image):
        return await explain(here, image, who.credentials(), out)
    workspace = here or where.open()
    scope, rest = scope_of(workspace, image)
    repository, reference, tag = split_image(rest)
    edges = [edge for edge in workspace.topology.promotions if edge.source == scope]
    if not edges:
        raise Problem(
            "no-edge", f"no edge leads out of {scope}", next="towpath graph shows the ways", exit=Exit.REFUSED
        )
    principal, endings = who.principal(workspace.topology), []
    async with opened(workspace) as parts:
        for edge in edges:
            request = Request(repository, reference, edge.id, tag=tag)
            outcome = await parts.engine.promote(request, principal, dry_run=True)
            endings.append(outcome.ending)
            out.emit(_record(outcome), "\n".join([f"{edge.id}: {scope} -> {edge.target}", *_lines(outcome)]))
    return min(EXITS[each] for each in endings)


def _request(what: tuple[str, ...], source: str, target: str) -> Request:
    edge, image = (what[0], what[1]) if len(what) == 2 else ("", what[0] if what else "")
    if len(what) not in (1, 2) or bool(edge) == bool(source or target) or bool(source) != bool(target):
        raise Problem(
            "usage",
            "name an edge and an image, or an image with --from and --to",
            next="towpath promote EDGE REPOSITORY:TAG   or   towpath promote --from SCOPE --to SCOPE REPOSITORY:TAG",
            exit=Exit.USAGE,
        )
    repository, reference, tag = split_image(image)
    return Request(repository, reference, edge, source, target, tag)


def say(out: Output, outcome: Outcome, request: Request) -> Exit:
    """The outcome on stdout; what went wrong as a Problem."""
    if not outcome.ok:
        raise Refusal(outcome, request)
    out.emit(_record(outcome), "\n".join(_lines(outcome)))
    return EXITS[outcome.ending]


class Refusal(Problem):
    """A promotion that did not come to pass; its JSON form holds the verdicts too."""

    def __init__(self, outcome: Outcome, request: Request) -> None:
        edge = f" by edge {outcome.edge}" if outcome.edge else ""
        title = {Ending.WAITING: "waiting", Ending.CONFLICT: "conflict"}.get(outcome.ending, "not promoted")
        reasons = list(outcome.reasons) or [outcome.code]
        super().__init__(
            outcome.code.lower().replace("_", "-"),
            f"{title}: {reasons[0]}",
            where=f"{outcome.source or '?'}/{request.image} -> {outcome.target or '?'}{edge}",
            why="\n".join(reasons[1:]),
            next=_remedy(outcome, request),
            exit=EXITS[outcome.ending],
        )
        self.outcome = outcome

    def as_json(self) -> dict[str, Any]:
        body = super().as_json()
        body["error"]["promotion"] = _record(self.outcome)
        return body


def _remedy(outcome: Outcome, request: Request) -> str:
    """The engine's, but for a scope that was written where the edge says it already."""
    doubled = f"{outcome.source}/"
    if outcome.code == "SOURCE_UNKNOWN" and request.repository.startswith(doubled):
        return f"leave the scope out: towpath promote {outcome.edge} {request.image.removeprefix(doubled)}"
    return outcome.remedy


def _record(outcome: Outcome) -> dict[str, Any]:
    return {
        "ending": outcome.ending,
        "code": outcome.code,
        "promotion": outcome.promotion,
        "edge": outcome.edge,
        "from": outcome.source,
        "to": outcome.target,
        "repository": outcome.repository,
        "digest": outcome.digest,
        "tags": list(outcome.tags),
        "verdicts": [verdict.to_json() for verdict in outcome.verdicts],
        "reasons": list(outcome.reasons),
        "remedy": outcome.remedy,
        "would_change": outcome.would_change,
    }


_MARKS = {Answer.PASS: "✓", Answer.HOLD: "…", Answer.REFUSE: "✗"}
_TITLES = {
    Ending.DONE: "PROMOTED",
    Ending.NOTHING_TO_DO: "UNCHANGED",
    Ending.PLANNED: "WOULD PROMOTE",
    Ending.WAITING: "WAITING",
}


def _lines(outcome: Outcome) -> list[str]:
    gates = [f"{_MARKS[each.answer]} {each.gate}{_why(each.reasons)}" for each in outcome.verdicts]
    lines = [f"gates     {'  '.join(gates) or 'none'}"] if outcome.verdicts or outcome.ok else []
    for tag, shown in outcome.would_change.items():
        if shown != outcome.digest:
            lines.append(f"tag       {tag}: {shown or '(absent)'} -> {outcome.digest}")
    lines += [f"because   {each}" for each in outcome.reasons]
    lines += [f"next      {outcome.remedy}"] if outcome.remedy else []
    image = f"{outcome.target}/{outcome.repository}:{','.join(outcome.tags)}@{outcome.digest}"
    title = _TITLES.get(Ending.NOTHING_TO_DO if shows_already(outcome) else outcome.ending, "NOT PROMOTED")
    return [*lines, f"{title}  {image}  {outcome.promotion}".rstrip() if outcome.digest else title]


def shows_already(outcome: Outcome) -> bool:
    """A dry run that would change no tag."""
    shown = outcome.would_change.values()
    return outcome.ending is Ending.PLANNED and bool(shown) and all(each == outcome.digest for each in shown)


def _why(reasons: tuple[str, ...]) -> str:
    return f" ({'; '.join(reasons)})" if reasons else ""
