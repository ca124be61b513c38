"""``towpath can``: who may do what where, and the lines of the topology that say so. Nobody is asked: it reads the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from identity.grants import ANONYMOUS, ANYBODY, AUTHENTICATED, Action, Principal
from towpath.exits import Exit
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from sites.permissions.grounds import Ground
    from topology.model import Topology

_USAGE = "towpath can WHO ACTION SCOPE/REPOSITORY[:TAG]   or   towpath can --who ACTION SCOPE/REPOSITORY[:TAG]"


def can(
    *what: Annotated[str, Parameter(help="WHO ACTION IMAGE; ACTION IMAGE with --who. IMAGE: SCOPE/..., NODE/...")],
    who: Annotated[bool, Parameter(name="--who", negative="", help="List everybody who may.")] = False,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Say whether somebody may pull, push, delete or promote an image, and which line of the topology decides it."""
    out, workspace = options.open(), where.open()
    if len(what) != (2 if who else 3):
        raise Problem("usage", "can wants to know who, what and where", next=_USAGE, exit=Exit.USAGE)
    *subjects, action, image = what
    found = [_answered(workspace, name, _action(action), image) for name in subjects or _everybody(workspace.topology)]
    if not who:
        out.emit(found[0], _text(found[0]))
        return Exit.DONE if found[0]["allowed"] else Exit.REFUSED
    if rows := [_row(each) for each in found if each["allowed"]]:
        out.rows(rows, ("who", "place", "because"))
        return Exit.DONE
    out.talk(f"nobody may {action} {image}")
    return Exit.REFUSED


def _answered(workspace: Workspace, name: str, action: Action, image: str) -> dict[str, Any]:
    from sites.permissions.grounds import Asked
    from sites.permissions.of_nodes import may

    node, (repository, tag) = _node(workspace, image), _parsed(image)
    asked = Asked(_principal(workspace.topology, name), action, repository, tag)
    verdict = may(workspace.topology, node, asked)
    because = [_record(workspace, each) for each in verdict.grounds]
    told = {"who": name, "action": str(action), "image": image, "node": node}
    return {**told, "allowed": verdict.allowed, "because": because}


def _text(found: dict[str, Any]) -> str:
    answer, verb = ("yes", "may") if found["allowed"] else ("no", "may not")
    head = f"{answer}  {found['who']} {verb} {found['action']} {found['image']} (at {found['node']})"
    return "\n".join([head, *(f"  {each['place']}  {each['says']}" for each in found["because"])])


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """What comes last is nearest to the grant."""
    last = found["because"][-1]
    return {"who": found["who"], "node": found["node"], "place": last["place"], "because": last["says"]}


def _record(workspace: Workspace, ground: Ground) -> dict[str, Any]:
    """With its line in the file, as findings name it."""
    from topology.findings import Breach

    document = workspace.loaded.document
    assert document is not None  # a topology that could be read has one
    place = document.breached("", Breach(ground.path, ground.text))
    return {"says": ground.text, "place": f"{place.file}:{place.line}"}


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        known = ", ".join(each for each in Action if each is not Action.ANNOTATE)
        raise Problem("usage", f"there is no action {text!r}", next=f"actions: {known}", exit=Exit.USAGE) from None


def _everybody(topology: Topology) -> list[str]:
    return [ANYBODY, *topology.users, *(name for name, each in topology.groups.items() if each.oidc is not None)]


def _principal(topology: Topology, name: str) -> Principal:
    """A user with all of their groups; a group as somebody who is in no other one; ``everyone``: without credentials.
    Raises Problem (exit 2)."""
    from topology.findings import suggest
    from topology.identities import principal

    if name == ANYBODY:
        return ANONYMOUS
    if name in topology.users:
        return principal(topology, name, "token" if topology.users[name].token else "password")
    if name in topology.groups or name == AUTHENTICATED:
        return Principal(name, frozenset({name}) - {AUTHENTICATED})
    hint = suggest(name, [*topology.users, *topology.groups, ANYBODY, AUTHENTICATED])
    raise Problem("unknown-name", f"{name!r} is no user or group", next=hint, exit=Exit.USAGE)


def _node(workspace: Workspace, image: str) -> str:
    """A scope's primary node, or the node itself. Raises Problem (exit 2)."""
    from topology.findings import suggest

    topology, (first, slash, _) = workspace.topology, image.partition("/")
    if first in topology.scopes and slash:
        return topology.primary_name(first)
    if first in topology.nodes and slash:
        return first
    hint = suggest(first, [*topology.scopes, *topology.nodes])
    raise Problem("unknown-name", f"{first!r} is no scope or node", why=_USAGE, next=hint, exit=Exit.USAGE)


def _parsed(image: str) -> tuple[str, str]:
    """Repository and tag, without the scope or node before them. Raises Problem (exit 2)."""
    from oci_wire.errors import RegistryError
    from oci_wire.reference import Reference

    why = "a registry stands where a repository should"
    try:
        parsed = Reference.parse(image.partition("/")[2])
        if not parsed.registry:
            return parsed.repository, parsed.tag
    except RegistryError as error:
        why = error.message
    raise Problem("reference-unreadable", f"{image!r} is no image", why=why, next=_USAGE, exit=Exit.USAGE)
