"""The Authorization header: Basic, or Bearer with tokens kept per realm, service and scopes.

Source: distribution's token authentication specification; RFC 6749 section 6 for refresh tokens.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from oci_wire.auth import Challenge, TokenScope, parse_challenges, parse_scopes
from oci_wire.client.credentials import Credentials, Origin, Source, realm_url
from oci_wire.errors import Unauthorized

DEFAULT_LIFE = 60.0  # seconds, when the service does not say (distribution's specification)
LEEWAY = 10.0  # a token is renewed this long before its end, or at 4/5 of a short life
CLIENT_ID = "towpath"
MOST_KEPT = 1024  # tokens: one for each repository and kind of access

Fetch = Callable[[httpx.Request], Awaitable[bytes]]
Need = frozenset[TokenScope]


def need(repository: str, *actions: str) -> Need:
    return frozenset({TokenScope("repository", repository, frozenset(actions))})


CATALOG_NEED: Need = frozenset({TokenScope("registry", "catalog", frozenset({"*"}))})
NOTHING: Need = frozenset()


@dataclass(slots=True)
class _Token:
    value: str
    until: float


@dataclass(slots=True)
class Authority:
    """What to say to one origin. ``fetch`` sends a request and gives the body of its answer, or raises."""

    home: Origin
    source: Source
    fetch: Fetch
    realms: frozenset[str] = frozenset()
    clock: Callable[[], float] = time.monotonic
    _challenge: Challenge | None = None
    _known: Credentials = field(default_factory=Credentials)
    _asked: dict[Need, Need] = field(default_factory=dict)  # what the registry wanted for a need
    _tokens: dict[Need, _Token] = field(default_factory=dict)
    _locks: dict[Need, asyncio.Lock] = field(default_factory=dict)

    @property
    def credentials(self) -> Credentials:
        """Those of now. Tokens that others got are not theirs."""
        now = self.source()
        if now != self._known:
            self._known = now
            self._tokens.clear()
        return now

    async def header(self, wanted: Need) -> str | None:
        """The header to send, None before the first challenge."""
        mine = self.credentials
        if mine.bearer:
            return f"Bearer {mine.bearer}"
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return mine.basic
        return f"Bearer {(await self._token(self._asked.get(wanted, wanted))).value}"

    async def learn(self, wanted: Need, sent: str | None, headers: httpx.Headers) -> bool:
        """Takes in the challenges of a 401; whether there is something new to say."""
        if self.credentials.bearer:
            return False
        offered = parse_challenges(", ".join(headers.get_list("www-authenticate")))
        bearer = next((each for each in offered if each.scheme == "bearer" and each.parameters.get("realm")), None)
        if bearer is not None:
            return self._learn_bearer(wanted, sent, bearer)
        if any(each.scheme == "basic" for each in offered) and self.credentials.username:
            self._challenge = Challenge("basic")
            return sent != self.credentials.basic
        return False

    def _learn_bearer(self, wanted: Need, sent: str | None, challenge: Challenge) -> bool:
        before = self._asked.get(wanted, wanted)
        asked = _merge(before | frozenset(parse_scopes([challenge.parameters.get("scope", "")])))
        moved = self._challenge is None or _realm_and_name(self._challenge) != _realm_and_name(challenge)
        if moved:
            self._tokens.clear()
        self._challenge = challenge
        self._asked[wanted] = asked
        _forget_the_oldest(self._asked)
        token = self._tokens.get(asked)
        if token is not None and sent == f"Bearer {token.value}":
            del self._tokens[asked]  # the registry no longer takes it
        return True

    async def _token(self, scopes: Need) -> _Token:
        async with self._locks.setdefault(scopes, asyncio.Lock()):
            known = self._tokens.get(scopes)
            if known is None or known.until <= self.clock():
                known = self._tokens[scopes] = await self._ask(scopes)
                _forget_the_oldest(self._tokens)
                _forget_the_oldest(self._locks)
            return known

    async def _ask(self, scopes: Need) -> _Token:
        assert self._challenge is not None
        realm, service = _realm_and_name(self._challenge)
        mine = self.credentials
        url = realm_url(self.home, realm, self.realms, bool(mine))
        now = self.clock()
        body = await self.fetch(_request(mine, url, service, sorted(str(each) for each in scopes)))
        return _read_token(body, now, str(Origin.of(url)))


def _request(credentials: Credentials, url: httpx.URL, service: str, scopes: list[str]) -> httpx.Request:
    if credentials.refresh_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "client_id": CLIENT_ID,
            "service": service,
            "scope": " ".join(scopes),
        }
        return httpx.Request("POST", url, data=form)
    pairs: list[tuple[str, str | int | float | bool | None]] = [("service", service)] if service else []
    pairs += [("scope", each) for each in scopes]
    if credentials.username:
        pairs.append(("account", credentials.username))
    headers = {"Authorization": credentials.basic} if credentials.username else {}
    return httpx.Request("GET", url.copy_merge_params(pairs), headers=headers)


def _realm_and_name(challenge: Challenge) -> tuple[str, str]:
    return challenge.parameters.get("realm", ""), challenge.parameters.get("service", "")


def _forget_the_oldest(kept: dict[Need, Any]) -> None:
    """What is forgotten is asked for again."""
    while len(kept) > MOST_KEPT:
        del kept[next(iter(kept))]


def _merge(scopes: Need) -> Need:
    """One scope per resource, with all of its actions."""
    actions: dict[tuple[str, str], frozenset[str]] = {}
    for each in scopes:
        key = (each.kind, each.name)
        actions[key] = actions.get(key, frozenset()) | each.actions
    return frozenset(TokenScope(kind, name, found) for (kind, name), found in actions.items())


def _read_token(body: bytes, now: float, where: str) -> _Token:
    try:
        answer = json.loads(body)
        value = answer.get("token") or answer.get("access_token")
        life = float(answer.get("expires_in") or DEFAULT_LIFE)
    except (ValueError, TypeError, AttributeError, RecursionError):
        value, life = None, 0.0
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise Unauthorized(f"{where} answered without a token")
    return _Token(value, now + life - min(LEEWAY, life / 5))
