"""``towpath up --create-secrets``: the secret files that a topology names and that are missing, made on this machine.

Files only, never a replacement of one that exists: a robot's token; a person's password, with its bcrypt hash where
the topology points and the password itself beside it; a key pair where a trust entry's files are absent.
See docs/decisions/0005-secrets-on-one-machine.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import bcrypt

from promotions.keys import generate
from sites.state import write_private
from topology.model import KeyTrust, Topology
from towpath.problem import Problem

_ROUNDS = 10  # bcrypt: a random password of 18 bytes needs no slow hash


def create_missing(topology: Topology) -> list[Path]:
    """What was made, in the order of the topology. Raises Problem for half of a key pair."""
    return [*_of_users(topology), *_of_trust(topology)]


def _of_users(topology: Topology) -> Iterator[Path]:
    for user in topology.users.values():
        reference = user.password or user.token
        if reference is None or reference.file is None or (topology.base / reference.file).exists():
            continue
        path = topology.base / reference.file
        secret = secrets.token_urlsafe(24)
        if user.password is not None:
            plain = path.with_suffix(".password")
            yield _make(plain, f"{secret}\n".encode())
            yield _make(path, bcrypt.hashpw(secret.encode(), bcrypt.gensalt(_ROUNDS)) + b"\n")
        else:
            yield _make(path, f"{secret}\n".encode())


def _of_trust(topology: Topology) -> Iterator[Path]:
    for name, trust in topology.trust.items():
        if not isinstance(trust, KeyTrust) or (trust.private_key and trust.private_key.file is None):
            continue
        public, private = topology.base / trust.file, private_half(topology, trust)
        if public.exists() and (private.exists() or trust.private_key is None):
            continue  # somebody else's public key is no half of a pair of ours
        if public.exists() or private.exists():
            there, missing = (public, private) if public.exists() else (private, public)
            raise Problem(
                "half-a-key-pair",
                f"trust.{name}: {there} exists and {missing} does not",
                why="a new pair would replace the half that is there",
                next=f"put {missing} back, or remove {there} to have a new pair made",
            )
        encrypted, pem = generate(b"")
        yield _make(private, encrypted)
        yield _make(public, pem)


def private_half(topology: Topology, trust: KeyTrust) -> Path:
    """Where the private key is made: where the topology says, else in ``secrets/`` under the public one's name."""
    named = trust.private_key.file if trust.private_key else None
    return topology.base / (named or Path("secrets") / f"{trust.file.stem}.key")


def _make(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, content)
    return path
