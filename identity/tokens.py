"""A node's own bearer tokens: JWT signed with ES256 (RFC 7519, RFC 7518; distribution's token specification).

Only our key verifies: the algorithm is fixed, and a key that a token brings along (jwk, x5c, jku) is never read.
A token says who and what for; what its owner may do is asked of the grants again on every request.

Two kinds that cannot stand for each other (``typ`` and ``aud`` differ): an access token opens /v2/ for minutes, a
refresh token gets access tokens at /auth/token for weeks. Both carry a keyed fingerprint of the credential that they
were given for, so that both end with it: when a password changes, a robot's token is rotated, or a user goes.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from identity.signing_key import SignatureInvalid, SigningKey
from oci_wire.auth import TokenScope

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
    """What a verified token says. ``subject`` "" is anonymous; ``expires`` in seconds since the epoch; ``binding`` is
    the fingerprint of the credential that it was given for."""

    subject: str
    scopes: tuple[TokenScope, ...]
    expires: float
    binding: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    typ: str
    audience: str
    ttl: int  # seconds


class TokenSigner:
    """Issues and verifies the tokens of one node."""

    def __init__(
        self, key: SigningKey, node: str, *, ttl: int = 300, refresh_ttl: int = 30 * 24 * 3600, leeway: int = 60
    ) -> None:
        """``ttl``, ``refresh_ttl``: seconds that an access token and a refresh token live; ``leeway``: seconds by
        which clocks may differ."""
        self._key, self._node, self._leeway = key, node, leeway
        self._access = _Kind("JWT", node, ttl)
        self._refresh = _Kind("refresh+jwt", f"{node}/refresh", refresh_ttl)  # no node has a slash in its name
        self._binding_key = hashlib.blake2b(key.secret, digest_size=32, person=b"towpath-binding").digest()

    @property
    def refreshes(self) -> bool:
        """Whether refresh tokens are issued and taken at all."""
        return self._refresh.ttl > 0

    def binding(self, name: str, stored: str) -> str:
        """The fingerprint of a user's credential. ``stored``: the hash that the settings hold."""
        text = f"{name}\0{stored}".encode()
        return hashlib.blake2b(text, key=self._binding_key, digest_size=16).hexdigest()

    def issue(self, subject: str, scopes: Iterable[TokenScope], *, binding: str = "") -> Issued:
        """An access token for a subject (a user's name, "" for anonymous)."""
        access = [{"type": s.kind, "name": s.name, "actions": sorted(s.actions)} for s in scopes]
        return self._signed(self._access, {"sub": subject, "access": access, "cred": binding})

    def issue_refresh(self, subject: str, *, binding: str) -> Issued:
        """A refresh token: whoever holds it can get access tokens for all that the subject may do."""
        return self._signed(self._refresh, {"sub": subject, "cred": binding})

    def verify(self, text: str) -> Claims:
        """An access token. Raises TokenInvalid."""
        return self._verified(self._access, text)

    def verify_refresh(self, text: str) -> Claims:
        """A refresh token. Raises TokenInvalid."""
        if not self.refreshes:
            raise TokenInvalid("this node takes no refresh tokens")
        return self._verified(self._refresh, text)

    def _signed(self, kind: _Kind, said: dict[str, Any]) -> Issued:
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + kind.ttl}
        claims = {"iss": self._node, "aud": kind.audience, **times, "jti": secrets.token_hex(16), **said}
        return Issued(self._key.signed(kind.typ, claims), now, kind.ttl)

    def _verified(self, kind: _Kind, text: str) -> Claims:
        if len(text) > MAX_TOKEN:
            raise TokenInvalid("the token is too long")
        try:
            header, claims = self._key.verified(text)
        except SignatureInvalid:
            raise TokenInvalid("the token's signature does not fit this node's key") from None
        if header.get("kid") != self._key.kid or header.get("typ") != kind.typ:
            raise TokenInvalid("the token names another key, or is of another kind")
        if claims.get("iss") != self._node or claims.get("aud") != kind.audience:
            raise TokenInvalid("the token is not for this")
        self._check_times(claims)
        subject, binding = claims.get("sub"), claims.get("cred", "")
        if not isinstance(subject, str) or not isinstance(binding, str):
            raise TokenInvalid("the token does not say whose it is")
        return Claims(subject, _scopes(claims.get("access")), float(claims["exp"]), binding)

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = time.time()
        starts, ends = _time(claims.get("nbf")), _time(claims.get("exp"))
        if starts is None or ends is None:
            raise TokenInvalid("the token lacks nbf or exp")
        if now > ends + self._leeway or now < starts - self._leeway:
            raise TokenInvalid("the token is not valid at this time")


def _time(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


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
