"""Between registries: what a mirror's client says, and that credentials stay with the host that they are for.

The last four are the client's own lines, so these drive ``oci_wire.client`` against a registry that lies.
"""

from __future__ import annotations

import json

import httpx
import pytest

from oci_wire.client import Credentials
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import once
from tests.oci_wire.wire import CALL, Handler, Script, answer, remote
from tests.protocol.target import Target, noise

USER = Credentials("ci", "s3cret")
CONTENT = b"the blob"
BLOB = Digest.of(CONTENT)
EVIL = "evil.example"


@pytest.mark.protocol("proxy.namespace")
def test_namespace(target: Target) -> None:
    repository, layer = target.repository(), noise()
    pushed = target.image(repository, "1.0", (layer,))
    urls = [f"/v2/{repository}/manifests/{each}" for each in ("1.0", pushed.digest)]
    urls += [f"/v2/{repository}/blobs/{pushed.json['layers'][0]['digest']}", f"/v2/{repository}/manifests/none"]
    for url in urls:
        for method in ("GET", "HEAD"):
            plain = target.http.request(method, url)
            named = target.http.request(method, url, params={"ns": "docker.io"})
            assert (named.status_code, named.content) == (plain.status_code, plain.content)
            for name in ("docker-content-digest", "content-type", "content-length"):
                assert named.headers.get(name) == plain.headers.get(name)


def guarded(then: Handler) -> Handler:
    """At home Basic is wanted; whoever has it, and every other host, gets what ``then`` says."""

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "registry.example" and "authorization" not in request.headers:
            return answer(401, www_authenticate='Basic realm="x"')
        return then(request)

    return handler


def nothing_leaked(script: Script, host: str) -> None:
    for request in script.to(host):
        assert "authorization" not in request.headers
        said = f"{request.url} {request.headers!r} {request.content!r}"
        assert "s3cret" not in said and USER.basic.removeprefix("Basic ") not in said


@pytest.mark.protocol("proxy.redirect")
async def test_redirect() -> None:
    def then(request: httpx.Request) -> httpx.Response:
        if request.url.host == "registry.example":
            return answer(307, location=f"https://{EVIL}/storage/blob")
        return answer(200, CONTENT)

    registry, script = remote(guarded(then), credentials=USER)
    assert await (await registry.open_blob(CALL, "apps/api", BLOB)).read() == CONTENT
    assert len(script.to(EVIL)) == 1
    assert any("authorization" in each.headers for each in script.to("registry.example"))
    nothing_leaked(script, EVIL)


def _token_at(realm: str) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return answer(200, json.dumps({"token": "t"}).encode())
        if request.headers.get("authorization") == "Bearer t":
            return answer(200, content_length=len(CONTENT))
        return answer(401, www_authenticate=f'Bearer realm="{realm}",service="s"')

    return handler


@pytest.mark.protocol("proxy.realm")
async def test_realm() -> None:
    for realm in (f"https://{EVIL}/token", f"https://registry.example.{EVIL}/token", f"https://x@{EVIL}/token"):
        registry, script = remote(_token_at(realm), credentials=USER)
        with pytest.raises(RegistryError):
            await registry.stat_blob(CALL, "apps/api", BLOB)
        for host in {each.url.host for each in script.asked}:
            nothing_leaked(script, host)
    declared, script = remote(_token_at("https://tokens.example/token"), credentials=USER, realms=["tokens.example"])
    assert (await declared.stat_blob(CALL, "apps/api", BLOB)).size == len(CONTENT)
    assert [each.headers["authorization"] for each in script.to("tokens.example")] == [USER.basic]


@pytest.mark.protocol("proxy.upload-location")
async def test_upload_location() -> None:
    def then(request: httpx.Request) -> httpx.Response:
        return answer(202, location=f"https://{EVIL}/up?state=1") if request.method == "POST" else answer(201)

    registry, script = remote(guarded(then), credentials=USER)
    wanted = Descriptor(OCTET_STREAM, BLOB, len(CONTENT))
    await registry.put_blob(CALL, "apps/api", wanted, once(CONTENT))
    assert b"".join(each.content for each in script.to(EVIL)) == CONTENT
    nothing_leaked(script, EVIL)


@pytest.mark.protocol("proxy.link")
async def test_link() -> None:
    body = json.dumps({"name": "apps/api", "tags": ["a"]}).encode()
    for link in (f"<https://{EVIL}/v2/x>; rel=next", f'<//{EVIL}/v2/x>; rel="next"'):
        registry, script = remote(guarded(lambda _, link=link: answer(200, body, link=link)), credentials=USER)
        with pytest.raises(RegistryError):
            await registry.tags(CALL, "apps/api")
        assert script.to(EVIL) == []
