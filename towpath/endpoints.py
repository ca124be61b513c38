"""Endpoints at the command line: ``SCOPE@SITE`` names the node whose address clients use for a scope at a site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from topology.endpoints import Endpoint, endpoint_at, endpoints
from topology.model import Topology
from towpath.exits import Exit
from towpath.node_urls import url_of
from towpath.problem import Problem

if TYPE_CHECKING:
    from towpath.output import Output
    from towpath.workspace import Workspace

AT = "@"


def node_named(topology: Topology, text: str) -> str:
    """The node that ``SCOPE@SITE`` means; any other text is a node's name already. Raises Problem (exit 2)."""
    return endpoint_named(topology, text).node if AT in text else text


def endpoint_named(topology: Topology, text: str) -> Endpoint:
    """Raises Problem (exit 2) for a scope or site that is not declared, and where no endpoint can be told."""
    scope, _, site = text.partition(AT)
    for name, known, noun in ((scope, topology.scopes, "scope"), (site, topology.sites, "site")):
        if name not in known:
            what = f"{text}: there is no {noun} {name!r}"
            raise Problem("unknown-name", what, next=f"{noun}s: {', '.join(known)}", exit=Exit.USAGE)
    try:
        return endpoint_at(topology, scope, site)
    except LookupError as error:
        raise Problem(
            "no-endpoint",
            str(error.args[0]),
            where=f"scopes.{scope}",
            next=f"say which one clients use there: endpoint: {{{site}: NODE}}; or name a node",
            exit=Exit.USAGE,
        ) from None


def of_nodes(topology: Topology) -> Mapping[str, str]:
    """Node -> the endpoints that it is, ``prod@eu, prod@us``."""
    found: dict[str, str] = {}
    for each in endpoints(topology):
        found[each.node] = f"{found[each.node]}, {each}" if each.node in found else str(each)
    return found


def described(workspace: Workspace, endpoint: Endpoint) -> dict[str, Any]:
    """What to point DNS or a balancer at: ``{endpoint, node, url, behind: [{node, url, ready}]}``; ``ready`` answers 200
    while that node serves."""
    urls = {each: url_of(workspace, each) for each in (endpoint.node, *endpoint.behind)}
    behind = [{"node": each, "url": urls[each], "ready": f"{urls[each]}/readyz"} for each in endpoint.behind]
    return {"endpoint": str(endpoint), "node": endpoint.node, "url": urls[endpoint.node], "behind": behind}


def in_words(workspace: Workspace, endpoint: Endpoint) -> str:
    """The same for a person, several lines."""
    told = described(workspace, endpoint)
    node = workspace.topology.nodes[endpoint.node]
    behind = ", ".join(_authority(each["url"]) for each in told["behind"])
    lines = [f"{endpoint}  {told['url']}  ({node.kind} {endpoint.node})"]
    lines += [f"  behind    {each['node']}  {each['url']}" for each in told["behind"] if each["node"] != endpoint.node]
    lines.append(
        f"  DNS       a name for it leads to {urlsplit(told['url']).hostname}; its certificate says {endpoint.node}"
    )
    past = f", or past it to {behind}" if endpoint.behind != (endpoint.node,) else ""
    lines.append(f"  balancer  leads to {_authority(told['url'])}{past}, while GET /readyz answers 200")
    return "\n".join(lines)


def say_all(workspace: Workspace, out: Output) -> None:
    """A line for each declared endpoint: where DNS or a balancer is to lead."""
    for each in endpoints(workspace.topology):
        url = url_of(workspace, each.node)
        over = f" over {', '.join(each.behind)}" if each.behind != (each.node,) else ""
        text = f"endpoint {each}: DNS or a balancer leads to {_authority(url)} ({each.node}{over})"
        out.note({"type": "endpoint", **described(workspace, each)}, text)


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}"
