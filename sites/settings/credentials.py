"""What a node may know of each user: a hash, read from where the topology says. Never a secret itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from registry_node import settings
from sites.hosts import HostError, HostErrors
from topology.model import ExternalNode, MirrorNode, Topology, User, VirtualNode
from topology.secrets import SecretUnreadable, read

ENGINE = "towpath-engine"  # the robot that promotes and replicates
_LONGEST_NAME = 63
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_SHORTEST_TOKEN = 16  # characters


def robot_of(front: str) -> str:
    """As whom a mirror or virtual asks our other nodes."""
    name = f"node-{front}"
    return name if len(name) <= _LONGEST_NAME else f"{name[:54]}-{_sha256(front.encode())[:8]}"


def users_of(topology: Topology) -> dict[str, settings.User]:
    """Every declared user with the hash of their secret. Raises HostErrors: all that are missing or unusable."""
    found: dict[str, settings.User] = {}
    errors: list[HostError] = []
    errors += _taken(topology)
    for name, user in topology.users.items():
        try:
            found[name] = _known(name, user, topology)
        except HostError as error:
            errors.append(error)
    if errors:
        raise HostErrors(errors)
    return found


def _taken(topology: Topology) -> list[HostError]:
    ours = {ENGINE: "the engine's own name"}
    for name, node in topology.nodes.items():
        if isinstance(node, MirrorNode | VirtualNode):
            ours[robot_of(name)] = f"the name by which {name} asks other nodes"
    return [
        HostError("name-taken", f"{name} is {whose}", where=f"{section}.{name}", next="rename it")
        for section, declared in (("users", topology.users), ("groups", topology.groups))
        for name, whose in ours.items()
        if name in declared
    ]


def login_of(topology: Topology, external: str) -> str | None:
    """``user:password`` for an external registry; None: it is asked anonymously. Raises HostError."""
    node = topology.nodes[external]
    if not isinstance(node, ExternalNode) or node.auth is None:
        return None
    where, why = f"nodes.{external}.auth", ""
    try:
        text = read(node.auth, topology.base).decode(errors="replace").strip()
    except SecretUnreadable as error:
        text, why = "", str(error)
    user, _, password = text.partition(":")
    if not (user and password) or "\n" in text:
        what = f"the login of {external} ({node.auth}) is not one line user:password"
        raise HostError("not-a-login", what, where=where, why=why, next="write user:password there, or user:token")
    return text


def robot_user(token: str) -> settings.User:
    return settings.User(robot=True, token_sha256=_sha256(token.encode()))


def engine_user(token: str) -> Mapping[str, settings.User]:
    return {ENGINE: robot_user(token)}


def _known(name: str, user: User, topology: Topology) -> settings.User:
    reference = user.password or user.token
    assert reference is not None
    try:
        secret = read(reference, topology.base).strip()
    except SecretUnreadable as error:
        raise _refusal(name, "secret-missing", f"the secret of {name} is missing", str(error)) from None
    groups = tuple(group for group, declared in topology.groups.items() if name in declared.users)
    if user.password is not None:
        text = secret.decode(errors="replace")
        if not _BCRYPT.fullmatch(text):
            raise _refusal(name, "not-a-bcrypt-hash", f"the password of {name} ({reference}) is no bcrypt hash")
        return settings.User(robot=user.robot, password_bcrypt=text, groups=groups)
    if len(secret) < _SHORTEST_TOKEN:
        what = f"the token of {name} ({reference}) has fewer than {_SHORTEST_TOKEN} characters"
        raise _refusal(name, "token-too-short", what)
    return settings.User(robot=user.robot, token_sha256=_sha256(secret), groups=groups)


def _refusal(name: str, code: str, what: str, why: str = "") -> HostError:
    return HostError(
        code,
        what,
        where=f"users.{name}",
        why=why,
        next="put the secret there; on one machine, towpath up --create-secrets makes the files that are missing",
    )


def _sha256(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
