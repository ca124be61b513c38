"""Who a host shows itself to be: an unknown key and a changed one end the connection, and are told with fingerprints."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from paramiko import BadHostKeyException, MissingHostKeyPolicy, PKey, SSHException
from pyinfra.connectors.sshuserclient import client as pyinfra_client


class UnknownHostKey(SSHException):
    def __init__(self, hostname: str, key: PKey) -> None:
        super().__init__(f"the key of {hostname} is not known")
        self.key = key


class OnlyKnownKeys(MissingHostKeyPolicy):
    def missing_host_key(self, client: Any, hostname: str, key: PKey) -> None:
        raise UnknownHostKey(hostname, key)


def insist() -> None:
    """pyinfra's strict policy says only that a key is not known; ours also says which key was shown."""
    pyinfra_client.StrictPolicy = OnlyKnownKeys  # type: ignore[misc,assignment]


def refusal(error: BaseException) -> dict[str, str] | None:
    """What a failed connection means when it is about a host's key; None when it is about something else."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, UnknownHostKey):
            return {
                "code": "host-key-unknown",
                "what": "shows a key that is not known here",
                "why": f"it is {fingerprint(at.key)}",
                "next": "compare the fingerprint on the host's console (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub); if it "
                f"is the host's, write hostKey: '{public(at.key)}' to it in the topology",
            }
        if isinstance(at, BadHostKeyException):
            return {
                "code": "host-key-changed",
                "what": "shows another key than the one it is known by",
                "why": f"it shows {fingerprint(at.key)}; known is {fingerprint(at.expected_key)}",
                "next": "somebody may be in between. Only if the host was installed anew: put its new key in hostKey, or "
                "take the old one out of the known_hosts file",
            }
        at = at.__cause__ or at.__context__
    return None


def fingerprint(key: PKey) -> str:
    """As ``ssh-keygen -l`` prints it (RFC 4648 base64 of SHA-256, without padding)."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).rstrip(b"=").decode()
    return f"{key.get_name()} SHA256:{digest}"


def public(key: PKey) -> str:
    """As known_hosts and the topology write it."""
    return f"{key.get_name()} {key.get_base64()}"
