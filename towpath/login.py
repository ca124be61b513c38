"""``towpath login`` and ``towpath kube-secret``: what clients and clusters need to get at the nodes of a topology."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from topology.endpoints import stood_for
from topology.model import Placed, Topology
from towpath.access import ANYBODY, HOW, Who
from towpath.auth_file import Login, docker_config, files_of_clients, write_logins
from towpath.endpoints import node_named
from towpath.exits import Exit
from towpath.node_urls import authority_of, url_of
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

Nodes = Annotated[
    tuple[str, ...],
    Parameter(
        help="Nodes, or SCOPE@SITE for an endpoint (default: every node of ours where the user may do something, "
        "endpoints in place of what stands behind them)."
    ),
]
_DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123, as Kubernetes wants names


async def login(
    nodes: Nodes = (),
    /,
    *,
    auth_file: Annotated[
        Path | None, Parameter(help="The file to write (default: where docker and podman look).")
    ] = None,
    password_stdin: Annotated[bool, Parameter(negative="", help="Read the password or token from stdin.")] = False,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Prove a user's secret to the nodes, and write it where docker, podman, buildah, skopeo, crane and others read it."""
    out, workspace = options.open(), where.open()
    user, secret = _named(who), sys.stdin.read().rstrip("\r\n") if password_stdin else who.secret
    if not secret:
        raise Problem("no-secret", f"no secret for user {user}", next=f"{HOW}, or --password-stdin", exit=Exit.USAGE)
    chosen = _chosen(workspace, nodes, user)
    for name in chosen:
        await _prove(workspace, name, user, secret)
    logins = [_login(workspace, name, user, secret) for name in chosen]
    files = (auth_file,) if auth_file else files_of_clients(os.environ)
    for file in files:
        write_logins(file, logins)
    for name, each in zip(chosen, logins, strict=True):
        record = {"node": name, "registry": each.authority, "user": user, "files": [str(file) for file in files]}
        out.emit(record, f"{name}  {each.authority}  {user}")
    out.talk(f"written to {', '.join(map(str, files))}")
    return Exit.DONE


def kube_secret(
    nodes: Nodes = (),
    /,
    *,
    name: Annotated[str, Parameter(help="Of the Kubernetes secret.")] = "towpath-pull",
    namespace: Annotated[str | None, Parameter(help="Of the secret (default: the one that kubectl is in).")] = None,
    who: Who = ANYBODY,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Print a Kubernetes pull secret for a robot or a person: `towpath kube-secret --user k8s-eu | kubectl apply -f -`.

    A robot's token comes from where the topology says; a person's password from the environment."""
    out, workspace = options.open(), where.open()
    user = _named(who)
    for label in filter(None, (name, namespace)):
        _check_label(label)
    secret = who.secret or _token_of(workspace.topology, user)
    logins = [_login(workspace, each, user, secret) for each in _chosen(workspace, nodes, user)]
    content = json.dumps(docker_config(logins), sort_keys=True).encode()
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(content).decode()},
    }
    out.emit(manifest, json.dumps(manifest, indent=2))
    out.talk(f"for {', '.join(dict.fromkeys(each.authority for each in logins))}; name it in imagePullSecrets")
    return Exit.DONE


def _named(who: Who) -> str:
    if not who.name:
        raise Problem("no-user", "who is to sign in?", next="give --user NAME, or set TOWPATH_USER", exit=Exit.USAGE)
    return who.name


def _chosen(workspace: Workspace, given: Sequence[str], user: str) -> list[str]:
    """Raises Problem (exit 2) for a name that is no node of ours, (exit 4) when the user may do nothing anywhere."""
    given = [node_named(workspace.topology, each) for each in given]
    ours = [name for name, node in workspace.topology.nodes.items() if isinstance(node, Placed)]
    if unknown := [name for name in given if name not in ours]:
        known = ", ".join(ours)
        raise Problem(
            "unknown-name", f"there is no node {unknown[0]!r} of ours", next=f"known: {known}", exit=Exit.USAGE
        )
    chosen = list(dict.fromkeys(given)) or _usual(workspace.topology, ours, user)
    if not chosen:
        raise Problem(
            "nothing-granted",
            f"no node grants {user} anything",
            where="grants of the scopes",
            next="grant it there, or name the nodes",
            exit=Exit.REFUSED,
        )
    return chosen


def _usual(topology: Topology, ours: Sequence[str], user: str) -> list[str]:
    """Where the user may do something; not the nodes behind an endpoint at which they may do all of that too."""
    allowed = {name: actions for name in ours if (actions := _allowed(topology, name, user))}
    behind = {
        name for name, front in stood_for(topology).items() if allowed.get(name, {""}) <= allowed.get(front, set())
    }
    return [name for name in allowed if name not in behind]


def _allowed(topology: Topology, node: str, user: str) -> set[str]:
    """What a user may do at a node, as one who has signed in."""
    from identity.grants import AUTHENTICATED, Action, WritePolicy
    from sites.settings.fronts import write_policy
    from sites.settings.node_grants import node_grants
    from topology.identities import groups_of

    called = {user, AUTHENTICATED, *groups_of(topology, user)}
    allowed = {str(action) for grant in node_grants(topology, node) if grant.to in called for action in grant.allow}
    policy = write_policy(topology, node)
    if policy not in (WritePolicy.OPEN, WritePolicy.ROBOTS):
        allowed.discard(Action.PUSH)
    return allowed - {Action.DELETE} if policy is WritePolicy.READ_ONLY else allowed


def _login(workspace: Workspace, node: str, user: str, secret: str) -> Login:
    """Clients look logins up by host: nodes behind one proxy, by path, share it (every node knows every user)."""
    return Login(urlsplit(url_of(workspace, node)).netloc, user, secret)


async def _prove(workspace: Workspace, node: str, user: str, secret: str) -> None:
    """Raises Problem (exit 4) when the node does not know the user by this secret."""
    import ssl

    import httpx

    from oci_wire.client import Credentials, RemoteRegistry
    from oci_wire.errors import Unauthorized
    from oci_wire.registry import Call

    url, pem = url_of(workspace, node), authority_of(workspace, node)
    trust = ssl.create_default_context(cadata=pem) if pem and url.startswith("https://") else True
    async with (
        httpx.AsyncClient(verify=trust, timeout=10, trust_env=url.startswith("https://")) as client,
        RemoteRegistry(url, credentials=Credentials(user, secret), client=client) as registry,
    ):
        try:
            await registry.sign_in(Call())
        except Unauthorized:
            what = f"{node} does not know {user} by this secret; nothing was written"
            raise Problem("not-proven", what, where=url, next=HOW, exit=Exit.REFUSED) from None


def _token_of(topology: Topology, user: str) -> str:
    """A robot's, from where the topology says. Raises Problem (exit 2)."""
    from topology.secrets import SecretUnreadable, read

    declared = topology.users.get(user)
    if declared is None:
        known = ", ".join(topology.users)
        raise Problem("unknown-name", f"there is no user {user!r}", next=f"known: {known}", exit=Exit.USAGE)
    if declared.token is None:
        what = f"{user} signs in by a password, of which the topology has the hash alone"
        raise Problem("no-secret", what, next=HOW, exit=Exit.USAGE)
    try:
        return read(declared.token, topology.base).decode().strip()
    except (SecretUnreadable, UnicodeDecodeError) as error:
        raise Problem("secret-missing", str(error), where=f"users.{user}.token", exit=Exit.USAGE) from None


def _check_label(label: str) -> None:
    import re

    if not re.fullmatch(_DNS_LABEL, label):
        raise Problem(
            "not-a-name",
            f"{label!r} is no name that Kubernetes takes",
            next="write lower-case letters, digits and hyphens, at most 63",
            exit=Exit.USAGE,
        )
