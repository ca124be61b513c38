"""Refresh tokens: for whom, for how long, and what ends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from identity import tokens as signing
from identity.passwords import hash_password, hash_token
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from registry_node.settings import NodeSettings
from tests.registry_node.conftest import DEV, PASSWORD, READER, ROBOT, USERS, asking, settings

SCOPE = "repository:apps/api:pull,push"


async def refresh_token(app: App, who: tuple[str, str] = DEV) -> str:
    async with asking(app, who) as http:
        answer = await http.get(
            "/auth/token", params={"service": "box", "offline_token": "true", "client_id": "docker"}
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refresh_token"])


async def refreshed(app: App, token: str, **fields: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "service": "box", "client_id": "docker", "scope": SCOPE}
    async with asking(app, None) as http:
        return await http.post("/auth/token", data={**form, "refresh_token": token, **fields})


@pytest.mark.parametrize("who", [DEV, ROBOT])
async def test_docker_login_gets_one_and_pulls_with_it(app: App, who: tuple[str, str]) -> None:
    token = await refresh_token(app, who)
    answer = await refreshed(app, token, scope="repository:ci/api:pull,push")
    assert answer.json()["scope"] == "repository:ci/api:pull,push"
    assert "refresh_token" not in answer.json()  # it never renews itself
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    async with asking(app, None) as http:
        assert (await http.post("/v2/ci/api/blobs/uploads/", headers=bearer)).status_code == 202


async def test_oauth_clients_ask_by_access_type(app: App) -> None:
    form = {"grant_type": "password", "username": "dev", "password": PASSWORD, "service": "box", "client_id": "oras"}
    async with asking(app, None) as http:
        plain = (await http.post("/auth/token", data=form)).json()
        offline = (await http.post("/auth/token", data={**form, "access_type": "offline"})).json()
        anonymous = (await http.get("/auth/token", params={"offline_token": "true"})).json()
    assert "refresh_token" not in plain
    assert "refresh_token" not in anonymous
    assert (await refreshed(app, offline["refresh_token"])).status_code == 200


@pytest.mark.attack("A-token-kinds")
async def test_neither_kind_stands_for_the_other(app: App) -> None:
    token = await refresh_token(app)
    access = (await refreshed(app, token)).json()["access_token"]
    async with asking(app, None) as http:
        refused = await http.get("/v2/", headers={"authorization": f"Bearer {token}"})
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert (await refreshed(app, access)).status_code == 401
    async with asking(app, ("dev", token)) as http:  # nor for a password
        assert (await http.get("/v2/")).status_code == 401


def _users(**changes: Any) -> dict[str, Any]:
    return {name: user for name, user in {**USERS, **changes}.items() if user is not None}


@pytest.mark.attack("A-revoked-at-once")
@pytest.mark.parametrize(
    ("who", "users"),
    [
        (DEV, _users(dev=None)),
        (DEV, _users(dev={"password_bcrypt": hash_password("another", cost=4)})),
        (DEV, _users(dev={"password_bcrypt": hash_password(PASSWORD, cost=4)})),  # the same one, set again
        (ROBOT, _users(ci={"robot": True, "token_sha256": hash_token("tpr_rotated-token-of-the-tests")})),
        (ROBOT, _users(ci=None, other=USERS["ci"])),
    ],
)
async def test_it_ends_with_its_credential_as_do_the_access_tokens_of_it(
    app: App, tmp_path: Path, who: tuple[str, str], users: dict[str, Any]
) -> None:
    token = await refresh_token(app, who)
    access = (await refreshed(app, token, scope="repository:ci/api:pull")).json()["access_token"]
    bearer = {"authorization": f"Bearer {access}"}
    async with asking(app, None) as http:
        assert (await http.get("/v2/", headers=bearer)).status_code == 200
        app.access.replace(settings(tmp_path, users=users))
        assert (await http.get("/v2/", headers=bearer)).status_code == 401
    assert (await refreshed(app, token)).status_code == 401
    app.access.replace(settings(tmp_path))
    assert (await refreshed(app, token)).status_code == 200  # and with nothing else


async def test_it_survives_a_restart_and_expires(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await refresh_token(app)
    again = build.app_of(settings(tmp_path), MemoryRegistry(), log=False)
    assert (await refreshed(again, token)).status_code == 200
    now = signing.time.time()
    for after, status in ((30 * 86400, 200), (30 * 86400 + 61, 401)):
        monkeypatch.setattr(signing.time, "time", lambda after=after: now + after)
        assert (await refreshed(again, token)).status_code == status


async def test_another_nodes_are_not_taken(app: App, tmp_path: Path) -> None:
    token = await refresh_token(app)
    other = build.app_of(settings(tmp_path / "other"), MemoryRegistry(), log=False)  # its own key
    assert (await refreshed(other, token)).status_code == 401
    renamed = settings(tmp_path).model_dump()  # the same key under another name
    moved = build.app_of(NodeSettings.model_validate({**renamed, "node": "attic"}), MemoryRegistry(), log=False)
    assert (await refreshed(moved, token, service="attic")).status_code == 401


async def test_a_node_may_give_none(app: App, tmp_path: Path) -> None:
    token = await refresh_token(app)
    strict = build.app_of(settings(tmp_path, tokens={"refresh_ttl": 0}), MemoryRegistry(), log=False)
    async with asking(strict, DEV) as http:
        assert "refresh_token" not in (await http.get("/auth/token", params={"offline_token": "true"})).json()
    assert (await refreshed(strict, token)).status_code == 401


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"service": "another"}, "service box"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_id": "x" * 300}, "client_id"),
        ({"grant_type": "implicit"}, "grant_type"),
        ({"grant_type": ""}, "grant_type"),
    ],
)
async def test_what_cannot_be_read_is_said(app: App, fields: dict[str, str], says: str) -> None:
    answer = await refreshed(app, await refresh_token(app), **fields)
    assert answer.status_code == 400
    assert says in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 20_000, "é"])
async def test_noise_is_no_token(app: App, token: str) -> None:
    answer = await refreshed(app, token)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")


async def test_it_reads_no_more_than_the_grants_of_today(app: App, tmp_path: Path) -> None:
    token = await refresh_token(app, READER)
    assert (await refreshed(app, token)).json()["scope"] == "repository:apps/api:pull"
    app.access.replace(settings(tmp_path, grants=[{"to": "dev", "allow": ["pull"]}]))
    assert (await refreshed(app, token)).json()["scope"] == ""
