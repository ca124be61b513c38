"""A node's own bearer tokens: JWT signed with ES256 (RFC 7519, RFC 7518; distribution's token specification).

Only our key verifies: the algorithm is fixed, and a key that a token brings along (jwk, x5c, jku) is never read.
A token says who and what for; what its owner may do is asked of the grants again on every request.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from oci_wire.auth import TokenScope

ALGORITHM = "ES256"
MAX_TOKEN = 8192  # characters


class TokenInvalid(Exception):
    """The token is not ours, not for us, or not valid now. The message holds no part of it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token and its life: ``issued_at`` in seconds since the epoch, ``expires_in`` in seconds."""

    text: str
    issued_at: int
    expires_in: int


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. ``subject`` "" is anonymous; ``expires`` in seconds since the epoch."""

    subject: str
    scopes: tuple[TokenScope, ...]
    expires: float


class TokenSigner:
    """Issues and verifies the tokens of one node."""

    def __init__(self, key: ECKey, node: str, *, ttl: int = 300, leeway: int = 60) -> None:
        """``ttl``: seconds that a token lives; ``leeway``: seconds by which clocks may differ."""
        self._key, self._node, self._ttl, self._leeway = key, node, ttl, leeway
        self._kid = key.thumbprint()

    def issue(self, subject: str, scopes: Iterable[TokenScope]) -> Issued:
        """A token for a subject (a user's name, "" for anonymous)."""
        now = int(time.time())
        claims = {
            "iss": self._node,
            "sub": subject,
            "aud": self._node,
            "iat": now,
            "nbf": now,
            "exp": now + self._ttl,
            "jti": secrets.token_hex(16),
            "access": [{"type": s.kind, "name": s.name, "actions": sorted(s.actions)} for s in scopes],
        }
        text = jwt.encode({"alg": ALGORITHM, "kid": self._kid}, claims, self._key, algorithms=[ALGORITHM])
        return Issued(text, now, self._ttl)

    def verify(self, text: str) -> Claims:
        """Raises TokenInvalid."""
        if len(text) > MAX_TOKEN:
            raise TokenInvalid("the token is too long")
        try:
            token = jwt.decode(text, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, RecursionError):
            raise TokenInvalid("the token's signature does not fit this node's key") from None
        if token.header.get("kid") != self._kid:
            raise TokenInvalid("the token names another key")
        self._check_times(token.claims)
        return Claims(token.claims["sub"], _scopes(token.claims.get("access")), float(token.claims["exp"]))

    def _check_times(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._node or claims.get("aud") != self._node or not isinstance(claims.get("sub"), str):
            raise TokenInvalid("the token is not for this node")
        now = time.time()
        starts, ends = claims.get("nbf"), claims.get("exp")
        if not isinstance(starts, int | float) or not isinstance(ends, int | float):
            raise TokenInvalid("the token lacks nbf or exp")
        if now > ends + self._leeway or now < starts - self._leeway:
            raise TokenInvalid("the token is not valid at this time")


def _scopes(access: Any) -> tuple[TokenScope, ...]:
    """What cannot be read grants nothing."""
    found: list[TokenScope] = []
    for each in access if isinstance(access, list) else []:
        try:
            scope = TokenScope.parse(f"{each['type']}:{each['name']}:{','.join(each['actions'])}")
        except (LookupError, TypeError):
            continue
        if scope is not None:
            found.append(scope)
    return tuple(found)


def load_or_create_key(path: Path) -> ECKey:
    """The node's signing key: a PEM file that its owner alone can read, made at the first start.

    Raises OSError when the folder cannot be written, ValueError when the file is no P-256 key."""
    if not path.exists():
        _write_new(path, ECKey.generate_key("P-256", private=True).as_pem(private=True))
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise ValueError(f"{path}: other users can read this key (mode {mode:o}); make it 600, or remove it")
    try:
        key = ECKey.import_key(path.read_bytes())
    except (JoseError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not an EC private key in PEM form; remove it to get a new one") from error
    if key.curve_name != "P-256" or not key.is_private:
        raise ValueError(f"{path}: not a private P-256 key; remove it to get a new one")
    return key


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.rename(path)
