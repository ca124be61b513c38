"""Basic and Bearer: what is said, when, and how often a token is had."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.client.tokens import MOST_KEPT
from oci_wire.digest import Digest
from oci_wire.errors import Unauthorized
from tests.oci_wire.wire import CALL, HOME, answer, remote

USER = Credentials("ci", "s3cret")
REALM = f"{HOME}/auth/token"
BLOB = Digest.of(b"x")


class Guarded:
    """A registry that wants Bearer tokens, and its token service."""

    def __init__(self, *, life: float | None = 300, scope: str | None = None, key: str = "token") -> None:
        self.life, self.scope, self.key = life, scope, key
        self.issued: list[str] = []
        self.valid: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return self._token(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.valid:
            return answer(200, content_length=1) if request.method == "HEAD" else answer(200, b"{}")
        scope = f',scope="{self.scope}"' if self.scope else ""
        return answer(401, www_authenticate=f'Bearer realm="{REALM}",service="reg"{scope}')

    def _token(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.headers.get("authorization") not in (None, USER.basic):
            return answer(401, b"{}")
        token = f"token-{len(self.issued)}"
        self.issued.append(token)
        self.valid.add(token)
        body: dict[str, Any] = {self.key: token} | ({"expires_in": self.life} if self.life is not None else {})
        return answer(200, json.dumps(body).encode())


async def test_nothing_is_said_before_it_is_asked_for() -> None:
    registry, script = remote(lambda request: answer(200, content_length=1), credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None]


async def test_basic_is_said_at_once_after_the_first_challenge() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        good = request.headers.get("authorization") == USER.basic
        return answer(200, content_length=1) if good else answer(401, www_authenticate='Basic realm="x"')

    registry, script = remote(handler, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None, USER.basic, USER.basic]


async def test_a_wrong_password_is_said_once() -> None:
    registry, script = remote(lambda request: answer(401, www_authenticate='Basic realm="x"'), credentials=USER)
    with pytest.raises(Unauthorized):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None, USER.basic]


async def test_without_credentials_a_basic_challenge_is_the_end() -> None:
    registry, script = remote(lambda request: answer(401, www_authenticate='Basic realm="x"'))
    with pytest.raises(Unauthorized):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert len(script.asked) == 1


async def test_a_token_is_asked_for_what_is_needed_and_kept() -> None:
    guarded = Guarded()
    registry, script = remote(guarded, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert [each.url.path.rpartition("/")[0] for each in script.asked] == [
        "/v2/apps/api/blobs",
        "/auth",
        "/v2/apps/api/blobs",
        "/v2/apps/api/blobs",
    ]
    asked = script.asked[1]
    assert parse_qs(asked.url.query.decode()) == {
        "service": ["reg"],
        "scope": ["repository:apps/api:pull"],
        "account": ["ci"],
    }
    assert asked.headers["authorization"] == USER.basic
    assert script.authorizations[2:] == ["Bearer token-0", "Bearer token-0"]


async def test_another_repository_wants_another_token() -> None:
    guarded = Guarded()
    registry, script = remote(guarded, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    await registry.stat_blob(CALL, "apps/web", BLOB)
    assert guarded.issued == ["token-0", "token-1"]
    assert script.authorizations[-1] == "Bearer token-1"
    assert len(script.asked) == 5  # no second challenge: the realm is known


async def test_what_the_challenge_wants_beyond_the_need_is_asked_for_too() -> None:
    registry, script = remote(Guarded(scope="repository:apps/api:pull,push repository:base:pull"), credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    wanted = parse_qs(script.asked[1].url.query.decode())["scope"]
    assert wanted == ["repository:apps/api:pull,push", "repository:base:pull"]


@pytest.mark.parametrize(("life", "lasts"), [(300, 285), (60, 45), (10, 7), (None, 45)])
async def test_a_token_is_renewed_before_its_end(life: float | None, lasts: float) -> None:
    now = [1000.0]
    guarded = Guarded(life=life)
    registry, _ = remote(guarded, credentials=USER, clock=lambda: now[0])
    await registry.stat_blob(CALL, "apps/api", BLOB)
    now[0] += lasts
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert guarded.issued == ["token-0"]
    now[0] += 10
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert guarded.issued == ["token-0", "token-1"]


async def test_a_token_that_is_no_longer_taken_is_renewed() -> None:
    guarded = Guarded()
    registry, _ = remote(guarded, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    guarded.valid.clear()  # revoked, or the service has a new key
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert guarded.issued == ["token-0", "token-1"]


async def test_a_registry_that_takes_no_token_at_all_is_not_asked_for_ever() -> None:
    guarded = Guarded()
    guarded.valid = frozenset()  # type: ignore[assignment]  # nothing is ever added
    guarded._token = lambda request: answer(200, b'{"token":"useless"}')  # type: ignore[method-assign]
    registry, script = remote(guarded, credentials=USER)
    with pytest.raises(Unauthorized):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert len(script.asked) <= 6


async def test_access_token_will_do() -> None:
    guarded = Guarded(key="access_token")
    registry, script = remote(guarded, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations[-1] == "Bearer token-0"


async def test_anonymous_tokens() -> None:
    registry, script = remote(Guarded())
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None, None, "Bearer token-0"]


async def test_a_refresh_token_goes_in_a_form() -> None:
    registry, script = remote(Guarded(), credentials=Credentials(refresh_token="identity"))
    await registry.stat_blob(CALL, "apps/api", BLOB)
    asked = script.asked[1]
    assert (asked.method, asked.headers.get("authorization"), asked.url.query) == ("POST", None, b"")
    assert parse_qs(asked.content.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["identity"],
        "client_id": ["towpath"],
        "service": ["reg"],
        "scope": ["repository:apps/api:pull"],
    }


async def test_a_bearer_token_of_our_own_is_sent_as_it_is() -> None:
    guarded = Guarded()
    guarded.valid.add("mine")
    registry, script = remote(guarded, credentials=Credentials(bearer="mine"))
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == ["Bearer mine"]


async def test_bearer_goes_before_basic() -> None:
    guarded = Guarded()

    def handler(request: httpx.Request) -> httpx.Response:
        response = guarded(request)
        if response.status_code == 401:
            response.headers["www-authenticate"] = 'Basic realm="x", ' + response.headers["www-authenticate"]
        return response

    registry, script = remote(handler, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations[-1] == "Bearer token-0"


async def test_many_at_once_ask_for_one_token() -> None:
    guarded = Guarded()
    registry, _ = remote(guarded, credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    await asyncio.gather(*(registry.stat_blob(CALL, "apps/web", BLOB) for _ in range(20)))
    assert len(guarded.issued) == 2


_NO_TOKENS = [
    b"",
    b"{}",
    b"[]",
    b'{"token": 5}',
    b'{"token": ""}',
    b'{"token": "a\\nX-Evil: 1"}',
    b"<html>",
    b'{"token": "\xc3\xa9"}',
]


@pytest.mark.parametrize("body", _NO_TOKENS)
async def test_what_is_no_token_is_refused(body: bytes) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return answer(200, body)
        return answer(401, www_authenticate=f'Bearer realm="{REALM}"')

    registry, _ = remote(handler, credentials=USER)
    with pytest.raises(Unauthorized):
        await registry.stat_blob(CALL, "apps/api", BLOB)


async def test_refused_credentials_say_where() -> None:
    registry, _ = remote(Guarded(), credentials=Credentials("ci", "wrong"))
    with pytest.raises(Unauthorized, match="refused these credentials"):
        await registry.stat_blob(CALL, "apps/api", BLOB)


async def test_a_mount_asks_for_both_repositories() -> None:
    guarded = Guarded()
    registry, script = remote(guarded, credentials=USER)
    with pytest.raises(Exception, match="200"):  # this registry answers 200 to everything
        await registry.mount_blob(CALL, "apps/api", BLOB, "base")
    wanted = parse_qs(script.asked[1].url.query.decode())["scope"]
    assert wanted == ["repository:apps/api:pull,push", "repository:base:pull"]


def test_credentials_do_not_show() -> None:
    shown = repr(Credentials("ci", "s3cret", "refresh", "bearer"))
    assert "ci" in shown
    for secret in ("s3cret", "refresh'", "'bearer'"):
        assert secret not in shown


async def test_tokens_are_not_kept_without_end() -> None:
    guarded = Guarded()
    registry, _ = remote(guarded, credentials=USER)
    for number in range(MOST_KEPT + 10):
        await registry.stat_blob(CALL, f"apps/a{number}", BLOB)
    authority = registry._transport._authority
    assert max(len(authority._tokens), len(authority._locks), len(authority._asked)) == MOST_KEPT
    await registry.stat_blob(CALL, "apps/a0", BLOB)  # forgotten, so asked for again
    assert len(guarded.issued) == MOST_KEPT + 11


@pytest.mark.parametrize(
    ("url", "proxied"),
    [("http://127.0.0.1:5001", False), ("http://localhost:5001", False), ("https://registry.example", True)],
)
async def test_a_proxy_is_not_asked_for_this_machine(url: str, proxied: bool) -> None:
    async with RemoteRegistry(url) as registry:
        assert registry._transport._client.trust_env is proxied
