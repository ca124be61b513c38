"""What a node may know of each user: a hash, read from where the topology says. Never a secret itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from registry_node import settings
from sites.hosts import HostError, HostErrors
from topology.model import Topology, User
from topology.secrets import SecretUnreadable, read

ENGINE = "towpath-engine"  # the robot that promotes and replicates
_BCRYPT = re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}")
_SHORTEST_TOKEN = 16  # characters


def users_of(topology: Topology) -> dict[str, settings.User]:
    """Every declared user with the hash of their secret. Raises HostErrors: all that are missing or unusable."""
    found: dict[str, settings.User] = {}
    errors: list[HostError] = []
    if ENGINE in topology.users:
        errors.append(
            HostError(
                "name-taken", f"{ENGINE} is the engine's own name", where=f"users.{ENGINE}", next="rename that user"
            )
        )
    for name, user in topology.users.items():
        try:
            found[name] = _known(name, user, topology)
        except HostError as error:
            errors.append(error)
    if errors:
        raise HostErrors(errors)
    return found


def engine_user(token: str) -> Mapping[str, settings.User]:
    return {ENGINE: settings.User(robot=True, token_sha256=_sha256(token.encode()))}


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
