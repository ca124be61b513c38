"""``towpath trace``: where an image came from, read from the ledgers alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter

from oci_wire.digest import Digest
from promotions.trace import Step, digest_of_tag
from promotions.trace import trace as steps_of
from towpath.exits import Exit
from towpath.image_names import scope_of, split_image
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace


async def trace(
    image: Annotated[str, Parameter(help="SCOPE/REPOSITORY:TAG or SCOPE/REPOSITORY@sha256:...")],
    /,
    *,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """By which edges, when, by whom and on what evidence an image came. Read from the ledgers: no node is asked."""
    out, workspace = options.open(), where.open()
    scope, repository, digest = _traced(workspace, image)
    steps = steps_of(workspace.ledgers, digest, repository)
    if not steps:
        raise Problem("not-in-ledger", f"no ledger knows {scope}/{repository}@{digest}", next=_PUSHED)
    out.talk(f"{scope}/{repository}@{digest}")
    for step in steps:
        out.emit(_record(step), "\n".join(_lines(step)))
    return Exit.DONE


_PUSHED = "ledgers begin at the first promotion: an image that was only pushed is in none"


def _traced(workspace: Workspace, image: str) -> tuple[str, str, str]:
    scope, rest = scope_of(workspace, image)
    repository, reference, tag = split_image(rest)
    if reference != tag:
        return scope, repository, str(Digest.parse(reference))
    found = digest_of_tag(workspace.ledgers, scope, repository, tag)
    if found is None:
        raise Problem("not-in-ledger", f"no promotion ever set {image}", next=_PUSHED)
    return scope, repository, found


def _record(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "at": step.at,
        "over": step.over,
        "from": step.source,
        "to": step.target,
        "repository": step.repository,
        "who": step.who,
        "how": step.how,
        "tags": dict(step.tags),
        "verdicts": list(step.verdicts),
        "evidence": step.evidence,
        "promotion": step.promotion,
        "reasons": list(step.reasons),
        "ledger": f"{step.ledger}#{step.seq}",
    }


def _lines(step: Step) -> Iterator[str]:
    at = datetime.fromtimestamp(step.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    way = f"{step.source} -> {step.target}" if step.target else step.source
    yield f"{at}  {step.kind:<11}  {way}  ({step.over})"
    if step.tags:
        moves = (f"{tag} ({'was ' + old[:19] if old else 'new'})" for tag, old in step.tags)
        yield f"{'':22}tags      {', '.join(moves)}"
    if step.who:
        proof = f" (by {step.how})" if step.how else ""
        yield f"{'':22}asked by  {step.who}{proof}"
    for verdict in step.verdicts:
        yield f"{'':22}gate      {verdict['gate']}: {verdict['answer']}, {'; '.join(verdict['reasons'])}"
    if step.evidence:
        yield f"{'':22}evidence  {step.evidence}"
    for reason in step.reasons:
        yield f"{'':22}because   {reason}"
    yield f"{'':22}record    ledger {step.ledger}, {step.seq}" + (f", {step.promotion}" if step.promotion else "")
