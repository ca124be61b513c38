"""Who is calling: Basic and Bearer credentials become a Principal.

bcrypt takes tens of milliseconds: it runs on its own two threads, once for many requests that bring the same
password at once, and its verdict is kept for a while under a keyed hash of name and password.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from identity.grants import ANONYMOUS, Principal
from identity.passwords import check_password, check_token
from identity.tokens import Claims, TokenInvalid, TokenSigner
from oci_wire.auth import TokenScope
from oci_wire.errors import TooManyRequests
from registry_node.settings import User

V = TypeVar("V")
_REMEMBERED = 4096  # credentials
_MOST_CHECKS = 64  # of bcrypt at once: a queue of guesses must not keep everybody else out for minutes
_GOOD_SECONDS, _BAD_SECONDS = 300.0, 5.0


class WrongCredentials(Exception):
    """Name or secret do not fit, or the token is not valid. The message tells neither which nor what was sent."""


class Credentials:
    """The declared users of one node and the secrets they bring."""

    def __init__(self, users: Mapping[str, User], signer: TokenSigner) -> None:
        self._users, self._signer = users, signer
        self._key = secrets.token_bytes(32)
        self._seen: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()
        self._known: OrderedDict[bytes, tuple[float, Principal, tuple[TokenScope, ...] | None]] = OrderedDict()
        self._claims: OrderedDict[bytes, Claims] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bcrypt")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def principal(self, name: str, how: str) -> Principal:
        """A declared user, "" for anonymous. Raises WrongCredentials for a name that is declared no longer."""
        if not name:
            return ANONYMOUS
        user = self._users.get(name)
        if user is None:
            raise WrongCredentials("unknown user or wrong password")
        return Principal(name, frozenset(user.groups), user.robot, how)

    async def basic(self, encoded: str) -> Principal:
        """The parameter of ``Authorization: Basic``. Raises WrongCredentials."""
        try:
            name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise WrongCredentials("the Basic credentials cannot be read") from None
        return await self.login(name, secret) if colon else ANONYMOUS

    async def login(self, name: str, secret: str) -> Principal:
        """Raises WrongCredentials. An empty name is anonymous only with an empty secret."""
        if not name and not secret:
            return ANONYMOUS
        user = self._users.get(name)
        if user is not None and user.token_sha256 is not None:
            good, how = check_token(user.token_sha256, secret), "token"
        else:
            good, how = await self._password(name, user.password_bcrypt if user else None, secret), "password"
        if not good:
            raise WrongCredentials("unknown user or wrong password")
        return self.principal(name, how)

    def bearer(self, token: str) -> tuple[Principal, Claims]:
        """One of this node's own tokens. Raises WrongCredentials."""
        mark = self._mark(token)
        claims = self._claims.get(mark)
        if claims is None or claims.expires < time.time():
            try:
                claims = self._signer.verify(token)
            except TokenInvalid as error:
                raise WrongCredentials(str(error)) from None
            _remember(self._claims, mark, claims)
        return self.principal(claims.subject, "bearer"), claims

    def known(self, authorization: str) -> tuple[Principal, tuple[TokenScope, ...] | None] | None:
        """Who this header is, when it was verified before and still holds; None otherwise."""
        mark = self._mark(authorization)
        found = self._known.get(mark)
        if found is None or found[0] < time.time():
            return None
        return found[1], found[2]

    def remember(self, authorization: str, who: Principal, claims: Claims | None) -> None:
        """For ``known``: a token until it expires, a password or robot token for a while."""
        until = claims.expires if claims else time.time() + _GOOD_SECONDS
        _remember(self._known, self._mark(authorization), (until, who, claims.scopes if claims else None))

    async def _password(self, name: str, bcrypt_hash: str | None, secret: str) -> bool:
        mark = self._mark(f"{name}\0{secret}")
        known = self._seen.get(mark)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._checking.get(mark)
        if task is None:
            if len(self._checking) >= _MOST_CHECKS:
                raise TooManyRequests("too many passwords are being checked; try again", retry_after=1.0)
            task = self._checking[mark] = asyncio.create_task(self._check(mark, bcrypt_hash, secret))
        return await asyncio.shield(task)

    async def _check(self, mark: bytes, bcrypt_hash: str | None, secret: str) -> bool:
        try:
            loop = asyncio.get_running_loop()
            good = await loop.run_in_executor(self._threads, check_password, bcrypt_hash, secret)
            _remember(self._seen, mark, (time.monotonic() + (_GOOD_SECONDS if good else _BAD_SECONDS), good))
            return good
        finally:
            self._checking.pop(mark, None)

    def _mark(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=32).digest()


def _remember(known: OrderedDict[bytes, V], key: bytes, value: V) -> None:
    known[key] = value
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
