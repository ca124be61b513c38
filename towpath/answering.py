"""``towpath why`` of a reference at a node: who answers for it there, who was asked, which rule forbade the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oci_wire.errors import NameUnknown
from oci_wire.registry import Call
from towpath.exits import Exit
from towpath.output import Output
from towpath.problem import Problem

if TYPE_CHECKING:
    from oci_wire.client import Credentials
    from oci_wire.extension import Explanation
    from towpath.workspace import Workspace

_SCHEMES = ("http://", "https://")


def is_at_a_node(workspace: Workspace | None, image: str) -> bool:
    """Whether it is written NODE/REPOSITORY:TAG, HOST:PORT/REPOSITORY:TAG or as an address; a scope's name is not."""
    first = image.partition("/")[0]
    if image.startswith(_SCHEMES) or "." in first or ":" in first or first == "localhost":
        return True
    return workspace is not None and first in workspace.topology.nodes and first not in workspace.topology.scopes


async def explain(workspace: Workspace | None, image: str, credentials: Credentials | None, out: Output) -> Exit:
    """Raises Problem, RegistryError. Exit 1 when nobody answers for it."""
    from towpath.references import Places

    for scheme in _SCHEMES:
        image = image.removeprefix(scheme)
    async with Places(workspace, credentials) as places:
        located = await places.locate(image)
        if not located.reference:
            raise Problem(
                "reference-unreadable",
                f"{image} names neither tag nor digest",
                next=f"write {image}:TAG",
                exit=Exit.USAGE,
            )
        try:
            found = await located.place.registry.why(Call(), located.place.repository, located.reference)
        except NameUnknown as error:
            raise Problem(
                "name-unknown",
                f"{located.place.node} does not say who answers for {image}",
                why=error.message,
                next="it is no node of ours, or you may not pull this there: give --user NAME and TOWPATH_TOKEN",
            ) from None
    out.emit(found.model_dump(mode="json"), "\n".join(_lines(str(located), found)))
    return Exit.DONE if found.answered else Exit.FAILED


def _lines(image: str, found: Explanation) -> list[str]:
    head = f"{image}  {found.digest}" if found.digest else image
    lines = [head, f"answered  {found.answered or 'nobody'}" + (f"  ({found.rule})" if found.rule else "")]
    names = max((len(each.member) for each in found.asked), default=0)
    outcomes = max((len(each.outcome) for each in found.asked), default=0)
    lines += [f"  {each.member:<{names}}  {each.outcome:<{outcomes}}  {each.reason}".rstrip() for each in found.asked]
    return lines
