"""Who is calling: Basic and Bearer credentials become a Principal.

bcrypt takes tens of milliseconds: it runs on its own two threads, once for many requests that bring the same
password at once, and its verdict is kept for as long as it is in use, under a keyed hash of name and password.
``replace`` takes new users in: whatever was remembered ends, and so does every token of a credential that is no more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from identity.grants import ANONYMOUS, Principal
from identity.passwords import check_password, check_token, cost_of
from identity.tokens import Claims, TokenInvalid, TokenSigner
from oci_wire.auth import TokenScope
from oci_wire.errors import TooManyRequests
from registry_node.rate_limits import RateLimiter
from registry_node.settings import RateLimits, User

V = TypeVar("V")
# Until when (seconds since the epoch), who, and what a token was issued for; None: it is no token.
Known = tuple[float, Principal, tuple[TokenScope, ...] | None]
_REMEMBERED = 4096  # credentials
_MOST_CHECKS = 64  # of bcrypt at once: a queue of guesses must not keep everybody else out for minutes
_GOOD_SECONDS, _BAD_SECONDS = 900.0, 5.0  # a right password: since it was last used
_KNOWN_SECONDS = 300.0  # on the short way; a right password is asked for again here before it is forgotten
_FORGED_PAUSE = 0.1  # seconds in which a new token takes the long way, after one that did not hold
_NAME = 64  # characters of a name that are counted by: longer ones are nobody's
_WRONG = "unknown user or wrong password"


class WrongCredentials(Exception):
    """Name or secret do not fit, or the token is not valid. The message tells neither which nor what was sent;
    ``tried`` is the declared user whose name was given, for the log alone."""

    def __init__(self, message: str = _WRONG, *, tried: str = "") -> None:
        super().__init__(message)
        self.tried = tried


@dataclass(frozen=True, slots=True)
class _Guess:
    """A secret to check. ``stored``: the bcrypt hash, None when the name has none."""

    name: str
    stored: str | None
    secret: str
    remote: str


class Credentials:
    """The declared users of one node and the secrets they bring."""

    def __init__(self, users: Mapping[str, User], signer: TokenSigner, limiter: RateLimiter | None = None) -> None:
        self._signer, self._limiter = signer, limiter or RateLimiter(RateLimits())
        self._key = secrets.token_bytes(32)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bcrypt")
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._busy: Counter[str] = Counter()  # checks by address: nobody has more than half of them
        self.replace(users)

    def replace(self, users: Mapping[str, User]) -> None:
        """From now on these are the users, and nothing that was verified before counts."""
        self._users = users
        self._bindings = {
            name: self._signer.binding(name, user.password_bcrypt or user.token_sha256 or "")
            for name, user in users.items()
        }
        hashes = (user.password_bcrypt for user in users.values() if user.password_bcrypt)
        self._cost = max(map(cost_of, hashes), default=None)
        self._seen: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._pause_until = 0.0
        self._claims: OrderedDict[bytes, Claims] = OrderedDict()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def binding(self, name: str) -> str:
        """What a token for this user is bound to; "" for anonymous, and for a name that is not declared."""
        return self._bindings.get(name, "")

    def principal(self, name: str, how: str) -> Principal:
        """A declared user, "" for anonymous. Raises WrongCredentials for a name that is declared no longer."""
        if not name:
            return ANONYMOUS
        user = self._users.get(name)
        if user is None:
            raise WrongCredentials
        return Principal(name, frozenset(user.groups), user.robot, how)

    async def basic(self, encoded: str, remote: str = "") -> Principal:
        """The parameter of ``Authorization: Basic``. Raises WrongCredentials, TooManyRequests."""
        try:
            name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise WrongCredentials("the Basic credentials cannot be read") from None
        return await self.login(name, secret, remote) if colon else ANONYMOUS

    async def login(self, name: str, secret: str, remote: str = "") -> Principal:
        """Raises WrongCredentials, TooManyRequests. An empty name is anonymous only with an empty secret."""
        if not name and not secret:
            return ANONYMOUS
        self._limiter.check_login(remote, name[:_NAME])
        user, binding = self._users.get(name), self.binding(name)
        if user is not None and user.token_sha256 is not None and check_token(user.token_sha256, secret):
            return self.principal(name, "token")
        stored = user.password_bcrypt if user else None  # a robot's wrong token takes as long as a wrong password
        good = await self._password(_Guess(name, stored, secret, remote))
        if not good or self.binding(name) != binding:  # the settings changed meanwhile
            raise WrongCredentials(tried=name if user else "")
        return self.principal(name, "password")

    def bearer(self, token: str) -> tuple[Principal, Claims]:
        """One of this node's own access tokens. Raises WrongCredentials."""
        mark = self._mark(token)
        claims = self._claims.get(mark)
        if claims is None or claims.expires < time.time():
            try:
                claims = self._signer.verify(token)
            except TokenInvalid as error:
                raise WrongCredentials(str(error)) from None
            _remember(self._claims, mark, claims)
        return self._bound(claims, "bearer"), claims

    def refresh(self, token: str) -> Principal:
        """One of this node's own refresh tokens. Raises WrongCredentials."""
        try:
            return self._bound(self._signer.verify_refresh(token), "refresh")
        except TokenInvalid as error:
            raise WrongCredentials(str(error)) from None

    def _bound(self, claims: Claims, how: str) -> Principal:
        if claims.binding != self.binding(claims.subject):
            raise WrongCredentials("the token was given for a credential that is no longer valid", tried=claims.subject)
        return self.principal(claims.subject, how)

    def known(self, authorization: str) -> Known | None:
        """Who this header is, when that can be said at once: it was verified before, or it is a token of ours."""
        found = self._known.get(self._mark(authorization))
        if found is None or found[0] < time.time():
            return self._new_token(authorization)
        return found

    def _new_token(self, authorization: str) -> Known | None:
        """Verified here and now: a client that gets a token asks for many things at once with it, and all of them would
        take the long way. The long way refuses; so that nobody pays twice for a flood of forged tokens, there is a pause
        after each one that does not hold."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or time.monotonic() < self._pause_until:
            return None
        try:
            who, claims = self.bearer(token.strip())
        except WrongCredentials:
            self._pause_until = time.monotonic() + _FORGED_PAUSE
            return None
        self.remember(authorization, who, claims)
        return claims.expires, who, claims.scopes

    def remember(self, authorization: str, who: Principal, claims: Claims | None) -> None:
        """For ``known``: a token until it expires, a password or robot token for a while."""
        until = claims.expires if claims else time.time() + _KNOWN_SECONDS
        _remember(self._known, self._mark(authorization), (until, who, claims.scopes if claims else None))

    async def _password(self, guess: _Guess) -> bool:
        if self._cost is None:  # nobody here has a password
            self._limiter.login_failed(guess.remote, guess.name[:_NAME])
            return False
        mark, now = self._mark(f"{len(guess.name)}:{guess.name}{guess.stored}:{guess.secret}"), time.monotonic()
        until, good = self._seen.get(mark, (0.0, False))
        if until > now and good:
            _remember(self._seen, mark, (now + _GOOD_SECONDS, True))
            return True
        if until > now:
            self._limiter.login_failed(guess.remote, guess.name[:_NAME])
            return False
        task = self._checking.get(mark) or self._start(mark, guess, self._cost)
        return await asyncio.shield(task)

    def _start(self, mark: bytes, guess: _Guess, cost: int) -> asyncio.Task[bool]:
        """Raises TooManyRequests."""
        if len(self._checking) >= _MOST_CHECKS or self._busy[guess.remote] >= _MOST_CHECKS // 2:
            raise TooManyRequests("too many passwords are being checked; try again", retry_after=1.0, why="rate-checks")
        self._limiter.login_failed(guess.remote, guess.name[:_NAME])
        self._busy[guess.remote] += 1
        task = self._checking[mark] = asyncio.create_task(self._check(mark, guess, cost))
        return task

    async def _check(self, mark: bytes, guess: _Guess, cost: int) -> bool:
        try:
            check = partial(check_password, guess.stored, guess.secret, cost=cost)
            good = await asyncio.get_running_loop().run_in_executor(self._threads, check)
            _remember(self._seen, mark, (time.monotonic() + (_GOOD_SECONDS if good else _BAD_SECONDS), good))
            if good:
                self._limiter.login_was_right(guess.remote, guess.name[:_NAME])
            return good
        finally:
            self._checking.pop(mark, None)
            self._busy[guess.remote] -= 1
            self._busy += Counter()  # drops those at zero

    def _mark(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=32).digest()


def _remember(known: OrderedDict[bytes, V], key: bytes, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > _REMEMBERED:
        known.popitem(last=False)
