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
_NOBODY = bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt(10)).decode()


def hash_password(password: str, *, cost: int = 12) -> str:
    """The bcrypt hash that a settings file holds. Raises ValueError beyond 72 bytes, which bcrypt would cut."""
    secret = password.encode()
    if len(secret) > _BCRYPT_LIMIT:
        raise ValueError(f"a password may have {_BCRYPT_LIMIT} bytes, this one has {len(secret)}")
    return bcrypt.hashpw(secret, bcrypt.gensalt(cost)).decode()


def check_password(bcrypt_hash: str | None, password: str) -> bool:
    """Whether the password fits. None (nobody of that name) takes as long as a wrong password and is False."""
    secret = password.encode()
    if len(secret) > _BCRYPT_LIMIT:
        secret, bcrypt_hash = b"", None
    stored = (bcrypt_hash or _NOBODY).replace("$2y$", "$2b$", 1)  # htpasswd's spelling of the same algorithm
    return bcrypt.checkpw(secret, stored.encode()) and bcrypt_hash is not None


def new_token() -> str:
    """A robot's token: 256 random bits, recognisable to secret scanners by its prefix."""
    return f"tpr_{secrets.token_urlsafe(32)}"


def hash_token(token: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_token(token_sha256: str, token: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(token_sha256, hash_token(token))
