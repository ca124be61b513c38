"""Credentials never go to another origin, whatever the registry says (CVE-2020-15157, CVE-2026-33540)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from oci_wire.client import Credentials
from oci_wire.client.credentials import Origin, step
from oci_wire.digest import Digest
from oci_wire.errors import Unauthorized, Unsupported
from oci_wire.registry import Registry, once
from tests.contract.content import described
from tests.oci_wire.wire import CALL, HOME, answer, remote

USER = Credentials("ci", "s3cret")
CONTENT = b"the blob"
BLOB = Digest.of(CONTENT)
EVIL = "evil.example"


def _guarded(then: Callable[[httpx.Request], httpx.Response]) -> Callable[[httpx.Request], httpx.Response]:
    """Basic is wanted at home; whoever has it, and every other host, gets what ``then`` says."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.netloc == b"registry.example" and "authorization" not in request.headers:
            return answer(401, www_authenticate='Basic realm="x"')
        return then(request)

    return handler


def _nothing_leaked(requests: list[httpx.Request]) -> None:
    for request in requests:
        assert "authorization" not in request.headers
        assert "s3cret" not in str(request.url)
        assert USER.basic.removeprefix("Basic ") not in repr(request.headers)


def _realm(realm: str) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        if "token" in request.url.path:
            return answer(200, json.dumps({"token": "t"}).encode())
        if request.headers.get("authorization") == "Bearer t":
            return answer(200, content_length=8)
        return answer(401, www_authenticate=f'Bearer realm="{realm}",service="s"')

    return handler


@pytest.mark.attack("A-foreign-realm")
@pytest.mark.parametrize(
    "realm",
    [
        f"https://{EVIL}/token",
        f"https://registry.example.{EVIL}/token",
        f"https://registry.example@{EVIL}/token",
        f"//{EVIL}/token",
        "http://registry.example/token",
        "http://169.254.169.254/token",
        "https://127.0.0.1/token",
        "https://[::1]/token",
        "https://10.1.2.3/token",
        "ftp://registry.example/token",
        "file:///etc/passwd/token",
    ],
)
async def test_a_realm_elsewhere_gets_no_credentials(realm: str) -> None:
    registry, script = remote(_realm(realm), credentials=USER)
    with pytest.raises((Unsupported, Unauthorized)):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.lines == [f"HEAD {HOME}/v2/apps/api/blobs/{BLOB}"]
    _nothing_leaked(script.asked)


@pytest.mark.parametrize("realm", [f"https://{EVIL}\\@registry.example/token", "https:///token", "token", "/token"])
async def test_odd_realms_stay_at_home(realm: str) -> None:
    registry, script = remote(_realm(realm), credentials=USER)
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert {each.url.host for each in script.asked} == {"registry.example"}


async def test_a_declared_realm_gets_them() -> None:
    registry, script = remote(_realm("https://auth.example/token"), credentials=USER, realms=["auth.example"])
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None, USER.basic, "Bearer t"]


async def test_docker_hubs_realm_is_known() -> None:
    handler = _realm("https://auth.docker.io/token")
    registry, script = remote(handler, "https://registry-1.docker.io", credentials=USER)
    await registry.stat_blob(CALL, "library/alpine", BLOB)
    assert script.authorizations == [None, USER.basic, "Bearer t"]


async def test_a_foreign_realm_may_give_anonymous_tokens() -> None:
    registry, script = remote(_realm("https://auth.example/token"))
    await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.authorizations == [None, None, "Bearer t"]


@pytest.mark.parametrize("realm", ["http://auth.example/token", "https://192.168.0.1/token", "https://localhost/token"])
async def test_not_from_everywhere_though(realm: str) -> None:
    registry, script = remote(_realm(realm))
    with pytest.raises(Unsupported):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert len(script.asked) == 1


async def test_a_token_service_that_redirects_is_not_followed() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if "token" in request.url.path:
            return answer(307, location=f"https://{EVIL}/token")
        return answer(401, www_authenticate=f'Bearer realm="{HOME}/token"')

    registry, script = remote(handler, credentials=USER)
    with pytest.raises(Exception, match="307"):
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert script.to(EVIL) == []


@pytest.mark.attack("A-foreign-redirect")
@pytest.mark.parametrize(
    "location",
    [
        "https://storage.example/blob?sig=1",
        "https://registry.example:8443/blob",
        "https://someone:else@storage.example/blob",
        "//storage.example/blob",
    ],
)
async def test_a_redirect_to_storage_carries_no_credentials(location: str) -> None:
    def then(request: httpx.Request) -> httpx.Response:
        return answer(307, location=location) if request.url.path.startswith("/v2/") else answer(200, CONTENT)

    registry, script = remote(_guarded(then), credentials=USER)
    stream = await registry.open_blob(CALL, "apps/api", BLOB)
    assert await stream.read() == CONTENT
    assert script.authorizations[1] == USER.basic
    _nothing_leaked(script.asked[2:])
    assert script.asked[2].url.userinfo == b""
    assert "x-request-id" not in script.asked[2].headers


async def test_a_redirect_at_home_keeps_them() -> None:
    def then(request: httpx.Request) -> httpx.Response:
        return answer(302, location="/elsewhere") if request.url.path.startswith("/v2/") else answer(200, CONTENT)

    registry, script = remote(_guarded(then), credentials=USER)
    assert await (await registry.open_blob(CALL, "apps/api", BLOB)).read() == CONTENT
    assert script.authorizations == [None, USER.basic, USER.basic]


async def test_a_redirect_can_challenge_nobody() -> None:
    def then(request: httpx.Request) -> httpx.Response:
        if request.url.host == "registry.example":
            return answer(307, location=f"https://{EVIL}/blob")
        return answer(401, www_authenticate=f'Basic realm="x", Bearer realm="https://{EVIL}/token"')

    registry, script = remote(_guarded(then), credentials=USER)
    with pytest.raises(Unauthorized):
        await registry.open_blob(CALL, "apps/api", BLOB)
    assert len(script.to(EVIL)) == 1
    _nothing_leaked(script.to(EVIL))


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example/x",
        "http://storage.example/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/x",
        "data:,x",
    ],
)
async def test_redirects_that_are_not_followed(location: str) -> None:
    registry, script = remote(_guarded(lambda request: answer(307, location=location)), credentials=USER)
    with pytest.raises(Unsupported):
        await registry.open_blob(CALL, "apps/api", BLOB)
    assert {each.url.host for each in script.asked} == {"registry.example"}


async def test_redirects_end() -> None:
    registry, script = remote(lambda request: answer(307, location=f"{request.url}x"))
    with pytest.raises(Unsupported, match="more than 5"):
        await registry.open_blob(CALL, "apps/api", BLOB)
    assert len(script.asked) == 6


async def test_writes_are_not_redirected() -> None:
    registry, script = remote(_guarded(lambda request: answer(307, location=f"https://{EVIL}/")), credentials=USER)
    with pytest.raises(Unsupported):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), once(CONTENT))
    assert script.to(EVIL) == []


async def test_a_local_registry_may_lead_to_a_local_storage() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return answer(307, location="http://127.0.0.2:9000/b") if request.url.port == 5000 else answer(200, CONTENT)

    registry, _ = remote(handler, "http://127.0.0.1:5000")
    assert await (await registry.open_blob(CALL, "apps/api", BLOB)).read() == CONTENT


@pytest.mark.attack("A-foreign-redirect")
async def test_an_upload_location_elsewhere_gets_the_bytes_and_no_credentials() -> None:
    def then(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return answer(202, location="https://storage.example/up?state=a%2Fb")
        return answer(202, location="/up2?state=c") if request.method == "PATCH" else answer(201)

    registry, script = remote(_guarded(then), credentials=USER, chunk_size=5)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), once(CONTENT))
    uploads = script.to("storage.example")
    assert [each.method for each in uploads] == ["PATCH", "PATCH", "PUT"]
    _nothing_leaked(uploads)
    assert str(uploads[0].url) == "https://storage.example/up?state=a%2Fb"
    assert uploads[2].url.params.multi_items() == [("state", "c"), ("digest", str(BLOB))]


def _list_tags(registry: Registry) -> Any:
    return registry.tags(CALL, "apps/api")


def _list_names(registry: Registry) -> Any:
    return registry.repositories(CALL)


def _list_referrers(registry: Registry) -> Any:
    return registry.referrers(CALL, "apps/api", BLOB)


_LISTS = [_list_tags, _list_names, _list_referrers]


_BODY = json.dumps({"schemaVersion": 2, "manifests": [], "tags": ["a"], "repositories": ["a"]}).encode()


@pytest.mark.attack("A-foreign-redirect")
@pytest.mark.parametrize("ask", _LISTS)
@pytest.mark.parametrize(
    "link",
    [
        f"<https://{EVIL}/v2/x>; rel=next",
        f'<//{EVIL}/v2/x>; rel="next"',
        "<http://registry.example/v2/x>; rel=next",
        "<https://registry.example:444/v2/x>; rel=next",
    ],
)
async def test_a_list_does_not_go_on_elsewhere(ask: Callable[[Registry], Any], link: str) -> None:
    registry, script = remote(_guarded(lambda request: answer(200, _BODY, link=link)), credentials=USER)
    with pytest.raises(Unsupported):
        await ask(registry)
    assert {str(Origin.of(each.url)) for each in script.asked} == {"https://registry.example:443"}


async def test_errors_tell_no_secrets() -> None:
    registry, _ = remote(lambda request: answer(500, b"boom"), credentials=USER)
    with pytest.raises(Exception, match="500") as caught:
        await registry.stat_blob(CALL, "apps/api", BLOB)
    told = f"{caught.value!r} {caught.value.__notes__}"
    assert "s3cret" not in told
    assert USER.basic not in told


def test_an_origin_is_scheme_host_and_port() -> None:
    home = Origin.of(httpx.URL("https://Registry.Example./v2/"))
    assert home == Origin.of(httpx.URL("https://registry.example:443/other"))
    for other in ("http://registry.example", "https://registry.example:444", "https://registry.example.org"):
        assert Origin.of(httpx.URL(other)) != home
    assert step(home, httpx.URL("https://registry.example/a/b"), "c?d=e#f") == httpx.URL(
        "https://registry.example/a/c?d=e"
    )
