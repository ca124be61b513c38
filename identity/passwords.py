"""Passwords of people (bcrypt) and tokens of robots (SHA-256 of a random secret). Hashes only, never a secret.

A robot's token has 256 random bits, so a plain hash is enough and costs a microsecond; a password needs bcrypt,
which costs tens of milliseconds: call ``check_password`` off the event loop.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import bcrypt

_BCRYPT_LIMIT = 72  # bytes; bcrypt reads no more
DEFAULT_COST = 12


def hash_password(password: str, *, cost: int = DEFAULT_COST) -> str:
    """The bcrypt hash that a settings file holds. Raises ValueError beyond 72 bytes, which bcrypt would cut."""
    secret = password.encode()
    if len(secret) > _BCRYPT_LIMIT:
        raise ValueError(f"a password may have {_BCRYPT_LIMIT} bytes, this one has {len(secret)}")
    return bcrypt.hashpw(secret, bcrypt.gensalt(cost)).decode()


def cost_of(bcrypt_hash: str) -> int:
    """The binary logarithm of its rounds: 12 in ``$2b$12$...``."""
    return int(bcrypt_hash[4:6])


def check_password(bcrypt_hash: str | None, password: str, *, cost: int = DEFAULT_COST) -> bool:
    """Whether the password fits; None (nobody of that name) is False.

    Every refusal takes the work of one check at ``cost``, the highest of all users: a name that nobody has, one with a
    cheaper hash, and a password that is too long cannot be told apart by time."""
    secret = password.encode()
    if len(secret) > _BCRYPT_LIMIT:
        secret, bcrypt_hash = b"", None
    if bcrypt_hash is None:
        return _in_vain(secret, cost)
    stored = bcrypt_hash.replace("$2y$", "$2b$", 1)  # htpasswd's spelling of the same algorithm
    if bcrypt.checkpw(secret, stored.encode()):
        return True
    for missing in range(cost_of(stored), cost):  # 2^c + 2^c + 2^(c+1) + ... = 2^cost
        _in_vain(secret, missing)
    return False


def _in_vain(secret: bytes, cost: int) -> bool:
    """The work of a check against a hash that no password has."""
    bcrypt.checkpw(secret, f"$2b${cost:02d}${'.' * 53}".encode())
    return False


def new_token() -> str:
    """A robot's token: 256 random bits, recognisable to secret scanners by its prefix."""
    return f"tpr_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_token(token_sha256: str, token: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(token_sha256, hash_token(token))
