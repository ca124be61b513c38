"""Who runs the command: a user that the topology declares, proven by a secret in the environment."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from identity.grants import ANONYMOUS, Principal
from towpath.exits import Exit
from towpath.problem import Problem

if TYPE_CHECKING:
    from oci_wire.client import Credentials
    from topology.model import SecretRef, Topology

TOKEN, PASSWORD = "TOWPATH_TOKEN", "TOWPATH_PASSWORD"
HOW = f"give --user NAME and set {TOKEN} (robots) or {PASSWORD} (people)"


@Parameter(name="*")
@dataclass(frozen=True)
class Who:
    """Options of every verb that acts for somebody. The secret never stands on the command line."""

    user: Annotated[
        str | None,
        Parameter(
            name="--user", help=f"Who you are (default: $TOWPATH_USER). The secret comes from ${TOKEN} or ${PASSWORD}."
        ),
    ] = None

    @property
    def name(self) -> str:
        return self.user or os.environ.get("TOWPATH_USER", "")

    @property
    def secret(self) -> str:
        return os.environ.get(TOKEN) or os.environ.get(PASSWORD) or ""

    def credentials(self) -> Credentials | None:
        """For a registry; None: anonymous. Raises Problem for a name without a secret."""
        from oci_wire.client import Credentials

        if not self.name:
            return None
        if not self.secret:
            raise Problem("no-secret", f"no secret for user {self.name}", next=HOW, exit=Exit.USAGE)
        return Credentials(self.name, self.secret)

    def principal(self, topology: Topology) -> Principal:
        """Proven against the topology's own reference. Without a name: anonymous. Raises Problem (exit 4) when the
        proof fails; an unknown name and a wrong secret read alike."""
        from topology.identities import principal

        if not self.name:
            return ANONYMOUS
        if not self.secret:
            raise Problem("no-secret", f"no secret for user {self.name}", next=HOW, exit=Exit.USAGE)
        declared = topology.users.get(self.name)
        how = "password" if declared and declared.password else "token"
        reference = (declared.password or declared.token) if declared else None
        if declared is None or reference is None or not _proves(self.secret, reference, topology, how):
            raise Problem(
                "not-proven", f"{self.name} is not known by this secret", where="users", next=HOW, exit=Exit.REFUSED
            )
        return principal(topology, self.name, how)


ANYBODY = Who()  # the default of every such verb's ``who``


def _proves(secret: str, reference: SecretRef, topology: Topology, how: str) -> bool:
    import bcrypt

    from topology.secrets import SecretUnreadable, read

    try:
        expected = read(reference, topology.base).strip()
    except SecretUnreadable as error:
        next_step = "put it there; on one machine, towpath up --create-secrets makes it"
        raise Problem("secret-missing", str(error), next=next_step, exit=Exit.USAGE) from None
    if how == "token":
        return hmac.compare_digest(expected, secret.encode())
    try:
        return bcrypt.checkpw(secret.encode(), expected)
    except ValueError:  # no bcrypt hash, or a password of more than 72 bytes
        return False
