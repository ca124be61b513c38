"""The key by which we show ourselves: one that can be read as it is, or the agent's. Nobody is asked for a passphrase."""

from __future__ import annotations

from paramiko import Agent, SSHException
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh_util import load_key_with_certificate

ENCRYPTED = "encrypted"  # stands in what paramiko and pyinfra say of a key with a passphrase


class KeyUnusable(Exception):
    """``told``: code, what (continues "host NAME ..."), why, next."""

    def __init__(self, code: str, why: str, next: str) -> None:
        super().__init__(why)
        self.told = {"code": code, "what": "was not asked: our own key cannot be used", "why": why, "next": next}


def chosen(path: str | None) -> str | None:
    """The file to read the key from; None: the agent's keys, and those in ~/.ssh. A key with a passphrase is the agent's
    to use, when there is one with keys. Raises KeyUnusable."""
    if path is None:
        return None
    try:
        load_key_with_certificate(path, allow_prompt=False)
    except (PyinfraError, SSHException, OSError, ValueError) as error:
        if ENCRYPTED not in str(error):
            raise KeyUnusable("ssh-key-unusable", str(error), "give another file with --ssh-key") from None
        if not _agent_has_keys():
            raise encrypted(path) from None
        return None
    return path


def encrypted(path: str) -> KeyUnusable:
    return KeyUnusable(
        "ssh-key-encrypted",
        f"{path} has a passphrase, and no agent holds a key that the host takes",
        "put it into an agent (eval $(ssh-agent); ssh-add FILE), or give one without a passphrase with --ssh-key",
    )


def _agent_has_keys() -> bool:
    """Of the agent at SSH_AUTH_SOCK."""
    try:
        return bool(Agent().get_keys())
    except (SSHException, OSError):
        return False
