"""No default password, no door that nobody opened: what a node refuses to start with, and what no request can widen."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from oci_wire.memory import MemoryRegistry
from registry_node import build, server
from registry_node.app import App
from registry_node.server import CannotStart
from registry_node.settings import NodeSettings, SettingsInvalid, load
from tests.registry_node.conftest import DEV, READER, ROBOT, asking, settings
from tests.registry_node.images import image, push_image

BEYOND = [
    *("0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "2001:db8::1", "fe80::1", "::ffff:0.0.0.0"),
    *("registry.example", "localhost.example", "localhost.", "LOCALHOST", "127.0.0.1.example", "127.1", "0", ""),
]
TLS = {"certificate": "tls/node.crt", "key": "tls/node.key"}


def declared(data: Path, host: str, **changes: Any) -> NodeSettings:
    listen = {"host": host, "port": 0}
    return NodeSettings.model_validate({"node": "a", "scope": "b", "listen": listen, "data": str(data), **changes})


@pytest.mark.attack("A-default-password")
@pytest.mark.parametrize("tls", [None, TLS], ids=["http", "https"])
@pytest.mark.parametrize("host", BEYOND)
def test_with_nothing_declared_a_node_answers_on_loopback_alone(tmp_path: Path, host: str, tls: Any) -> None:
    with pytest.raises(ValueError, match="no grants are declared"):
        declared(tmp_path, host, tls=tls)
    with pytest.raises(ValueError, match="no grants are declared"):  # users without a grant are no declaration
        declared(tmp_path, host, tls=tls, users={"x": {"robot": True, "token_sha256": "0" * 64}})
    assert declared(tmp_path, host, tls=tls, grants=[{"to": "everyone", "allow": ["pull"]}]).grants


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.2.1", "127.255.255.254", "::1", "localhost"])
def test_on_loopback_it_starts_and_nobody_may_do_anything(tmp_path: Path, host: str) -> None:
    assert declared(tmp_path, host).listen.loopback


@pytest.mark.attack("A-default-password")
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "0.0.0.0"])
def test_a_localhost_that_is_elsewhere_is_refused(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file calls localhost is what the machine's own tables make of it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(CannotStart, match=address):
        server._listening(declared(tmp_path, "localhost"))


async def test_a_node_with_nothing_declared_lets_nobody_in(tmp_path: Path) -> None:
    app = build.app_of(declared(tmp_path, "127.0.0.1"), MemoryRegistry(), log=False)
    for who in (None, ("admin", "admin"), ("admin", ""), ("root", "root"), ("towpath", "towpath"), DEV):
        async with asking(app, who) as http:
            for method, path in (
                ("GET", "/v2/a/tags/list"),
                ("POST", "/v2/a/blobs/uploads/"),
                ("GET", "/v2/_catalog"),
                ("GET", "/_towpath/v1/events"),
            ):
                assert (await http.request(method, path)).status_code == 401


@pytest.mark.attack("A-fails-closed")
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "null",
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "grants": [{"to": "everyone"}]}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "grants": [{"to": "x", "allow": ["*"]}]}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "grants": [{"to": "*", "allow": ["pull"]}]}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "grant": []}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "users": {"a": {}}}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "users": {"a": {"password_bcrypt": "x"}}}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "users": {"a": {"password": "x"}}}',
        '{"node": "a", "scope": "b", "listen": {"port": 0}, "data": "x", "users": {"everyone": {"token_sha256": "'
        + "0" * 64
        + '"}}}',
    ],
)
def test_settings_that_cannot_be_read_are_none(tmp_path: Path, content: str) -> None:
    """And never "as if that line were not there"."""
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(SettingsInvalid):
        load(tmp_path / "settings.json")


@pytest.mark.attack("A-create-only-retag")
async def test_where_tags_are_immutable_a_push_grant_does_not_retag(tmp_path: Path) -> None:
    """CVE-2026-31801: whoever may create may not change."""
    given = settings(tmp_path, rules={"immutable_tags": ["v*"]})
    with build.opened(given) as app:
        async with asking(app, ROBOT) as http:
            await push_image(http, "ci/api", "v1", b"first")
            await push_image(http, "ci/api", "dev", b"second")
            other, kind = image(b"second"), {"content-type": OCI_MANIFEST}
            for url in ("manifests/v1", "manifests/dev?tag=v1", f"manifests/{Digest.of(other)}?tag=v1&tag=dev"):
                answer = await http.put(f"/v2/ci/api/{url}", content=other, headers=kind)
                assert answer.status_code == 403, url
            assert (await http.get("/v2/ci/api/manifests/v1")).content == image(b"first")


@pytest.mark.attack("A-extra-json-fields")
async def test_fields_that_nobody_asked_for_give_nothing(app: App) -> None:
    """CVE-2019-16097: has_admin_role in the body of a request."""
    more = {"has_admin_role": "true", "admin": "1", "sub": "dev", "groups": "devs", "access": '[{"actions":["push"]}]'}
    form = {"grant_type": "password", "username": READER[0], "password": READER[1], "scope": "repository:a:push"}
    async with asking(app, None) as http:
        answer = await http.post("/auth/token", data={**form, **more})
        assert answer.json()["scope"] == ""
        bearer = {"authorization": f"Bearer {answer.json()['token']}"}
        for headers in (bearer, {**bearer, "x-remote-user": "dev", "x-forwarded-user": "dev", "remote-user": "dev"}):
            assert (await http.post("/v2/a/blobs/uploads/", headers=headers)).status_code == 403
        twice = await http.post("/auth/token", content="grant_type=password&username=reader&username=dev&password=x")
        assert twice.status_code == 401


@pytest.mark.attack("A-catalog")
async def test_the_lists_of_a_node_need_a_name(app: App) -> None:
    async with asking(app, None) as http:
        for path in ("/v2/_catalog", "/v2/_catalog?n=1&last=a", "/_towpath/v1", "/_towpath/v1/events"):
            answer = await http.get(path)
            assert answer.status_code in (401, 404), path
            assert "repositories" not in answer.text
