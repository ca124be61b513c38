"""``towpath setup``: how a client is made to use a mirror or virtual of the topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from towpath.exits import Exit
from towpath.node_urls import authority_of, url_of
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from towpath.client_setup import Front, Setup

Client = Literal["docker", "podman", "buildah", "skopeo", "containerd", "buildkit", "kubernetes"]


def setup(
    client: Annotated[Client, Parameter(help="Which client.")],
    node: Annotated[str, Parameter(help="A mirror or virtual of the topology, or SCOPE@SITE for an endpoint.")],
    /,
    *,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Print what to write, and where, so that a client uses a mirror, virtual or endpoint. Nothing is changed."""
    from towpath.client_setup import CLIENTS

    out, workspace = options.open(), where.open()
    front = _front(workspace, node)
    told = CLIENTS[client](front)
    record = {
        "client": client,
        "node": front.node,
        "url": front.url,
        "files": [{"path": each.path, "content": each.content} for each in told.files],
        "commands": list(told.commands),
        "notes": list(told.notes),
    }
    out.emit(record, _text(told))
    return Exit.DONE


def _text(told: Setup) -> str:
    """The files as they are to be written, each below a line with its path; what else is to be known as comments."""
    blocks = [f"# {each.path}\n{each.content.rstrip()}" for each in told.files]
    blocks += ["\n".join(["# then", *told.commands])] if told.commands else []
    blocks += ["\n".join(f"# note: {each}" for each in told.notes)] if told.notes else []
    return "\n\n".join(blocks)


def _front(workspace: Workspace, name: str) -> Front:
    """Raises Problem (exit 2) for a name that is no mirror or virtual."""
    from identity.grants import ANYBODY, Action, WritePolicy
    from sites.settings.fronts import write_policy
    from sites.settings.node_grants import node_grants
    from sites.settings.served import served_by
    from topology.model import LocalNode, MirrorNode, VirtualNode
    from towpath.client_setup import Front
    from towpath.endpoints import AT, node_named

    topology, endpoint = workspace.topology, AT in name
    name = node_named(topology, name)
    node = topology.nodes.get(name)
    if not isinstance(node, MirrorNode | VirtualNode) and not (endpoint and isinstance(node, LocalNode)):
        fronts = [each for each, its in topology.nodes.items() if isinstance(its, MirrorNode | VirtualNode)]
        known = ", ".join(fronts) or "none is declared"
        what = "a node of kind " + node.kind if node else "no node"
        raise Problem(
            "not-a-front",
            f"{name} is {what}: clients are set up for mirrors and virtuals",
            next=f"mirrors and virtuals: {known}; any other node is named in the image itself, HOST:PORT/NAME:TAG",
            exit=Exit.USAGE,
        )
    url = url_of(workspace, name)
    grants, served = node_grants(topology, name), served_by(topology, name)
    hosts = {each.host for each in served}
    return Front(
        name,
        url,
        served,
        "" if url.startswith("http://") else authority_of(workspace, name),
        any(each.to == ANYBODY and Action.PULL in each.allow for each in grants),
        not isinstance(node, MirrorNode) and write_policy(topology, name) in (WritePolicy.OPEN, WritePolicy.ROBOTS),
        tuple(each for each in node.hosts if each not in hosts) if isinstance(node, VirtualNode) else (),
    )
