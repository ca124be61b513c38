"""Secrets, read where the topology says they lie; and all of them checked at once, before anything starts."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from topology.findings import Breach, Finding, Severity
from topology.load import Loaded
from topology.model import ExternalNode, KeyTrust, Placed, SecretRef, Topology

LIMIT = 64 * 1024


class SecretUnreadable(Exception):
    """The message says where the secret should be and why it is not there; ``help`` what to do. Never its text."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


class SecretKind(StrEnum):
    PASSWORD = "password"  # noqa: S105 - the kind, not a password: a bcrypt hash
    TOKEN = "token"  # noqa: S105 - the kind, not a token
    SIGNING_KEY = "signing key"
    REGISTRY_LOGIN = "registry login"
    TLS_KEY = "TLS key"


@dataclass(frozen=True, slots=True)
class Needed:
    """One secret that the topology names: what it is for (``token of `ci-runner```), and where in the file."""

    kind: SecretKind
    owner: str
    ref: SecretRef
    path: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"{self.kind} of `{self.owner}`"


def read(ref: SecretRef, base: Path) -> bytes:
    """The secret without its last line end. Files are relative to ``base``. Raises SecretUnreadable."""
    content = _from_environment(ref.env) if ref.env is not None else _from_file(_located(ref, base))
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise SecretUnreadable(f"{ref} is empty", "put the secret there")
    return content


def _located(ref: SecretRef, base: Path) -> Path:
    assert ref.file is not None
    return base / ref.file


def _from_environment(name: str) -> bytes:
    value = os.environ.get(name)
    if value is None:
        raise SecretUnreadable(f"the environment variable {name} is not set", f"export {name}")
    return os.fsencode(value)


def _from_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(LIMIT + 1)
    except FileNotFoundError:
        raise SecretUnreadable(f"{path} does not exist", "create it, readable by its owner alone (mode 0600)") from None
    except OSError as error:
        raise SecretUnreadable(f"{path} cannot be read: {error.strerror}", "let this user read it") from None
    if len(content) > LIMIT:
        raise SecretUnreadable(
            f"{path} is larger than {LIMIT // 1024} KiB", "a secret is short: is this the right file?"
        )
    return content


def too_open(ref: SecretRef, base: Path) -> bool:
    """Whether others than the owner can read or write the secret's file."""
    if ref.file is None:
        return False
    try:
        mode = _located(ref, base).stat().st_mode
    except OSError:
        return False
    return bool(stat.S_IMODE(mode) & 0o077)


def needed(topology: Topology) -> Iterator[Needed]:
    """Every secret that the topology names, in the order of its sections."""
    for name, user in topology.users.items():
        if user.password:
            yield Needed(SecretKind.PASSWORD, name, user.password, ("users", name, "password"))
        if user.token:
            yield Needed(SecretKind.TOKEN, name, user.token, ("users", name, "token"))
    if topology.tls:
        yield Needed(SecretKind.TLS_KEY, "ca", topology.tls.ca.key, ("tls", "ca", "key"))
    for name, node in topology.nodes.items():
        if isinstance(node, ExternalNode) and node.auth:
            yield Needed(SecretKind.REGISTRY_LOGIN, name, node.auth, ("nodes", name, "auth"))
        if isinstance(node, Placed) and node.tls:
            yield Needed(SecretKind.TLS_KEY, name, node.tls.key, ("nodes", name, "tls", "key"))
    for name, trust in topology.trust.items():
        if isinstance(trust, KeyTrust) and trust.private_key:
            yield Needed(SecretKind.SIGNING_KEY, name, trust.private_key, ("trust", name, "privateKey"))


def public_key(trust: KeyTrust, base: Path) -> bytes:
    """The PEM text of a trusted public key. Raises SecretUnreadable, also for a certificate or a private key."""
    path = base / trust.file
    content = _from_file(path)
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        what = "a private key" if b"PRIVATE KEY" in content else "no public key (PEM, BEGIN PUBLIC KEY)"
        raise SecretUnreadable(f"{path} is {what}", "name the public half; cosign public-key prints it")
    return content


def check(loaded: Loaded, kinds: Collection[SecretKind] = tuple(SecretKind)) -> tuple[Finding, ...]:
    """What is missing (T020), open to others (T021, a warning) or no public key (T022): all at once."""
    topology, document = loaded.topology, loaded.document
    if topology is None or document is None:
        return ()
    found = [
        document.breached(breach.code, breach, Severity.WARNING if breach.code == "T021" else Severity.ERROR)
        for breach in _breaches(topology, kinds)
    ]
    return tuple(sorted(found, key=lambda each: (each.line, each.column)))


def _breaches(topology: Topology, kinds: Collection[SecretKind]) -> Iterator[Breach]:
    for need in needed(topology):
        if need.kind not in kinds:
            continue
        try:
            read(need.ref, topology.base)
        except SecretUnreadable as unreadable:
            yield Breach(need.path, f"{need}: {unreadable}", unreadable.help, at_key=True, code="T020")
            continue
        if too_open(need.ref, topology.base):
            yield Breach(need.path, f"{need}: others can read {need.ref.file}", "chmod 0600", at_key=True, code="T021")
    for name, trust in topology.trust.items():
        if isinstance(trust, KeyTrust):
            try:
                public_key(trust, topology.base)
            except SecretUnreadable as unreadable:
                says = f"trust entry `{name}`: {unreadable}"
                yield Breach(("trust", name, "file"), says, unreadable.help, code="T022")


def missing(topology: Topology) -> tuple[Needed, ...]:
    """The secrets that cannot be read now (``towpath up --create-secrets`` makes those that are files)."""

    def absent(need: Needed) -> bool:
        try:
            read(need.ref, topology.base)
        except SecretUnreadable:
            return True
        return False

    return tuple(need for need in needed(topology) if absent(need))
