"""How a client gets a token, and what it opens (Docker's registry token authentication specification)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.nodes import RunningNode
from tests.protocol.target import Target, challenge_of, refused


def ask(http: httpx.Client, realm: dict[str, str], *scopes: str, **more: str) -> dict[str, Any]:
    """The answer to a request for a token, as the client that ``http`` is signed in as."""
    query = [("service", realm["service"]), *(("scope", each) for each in scopes), *more.items()]
    answer = http.get(realm["realm"], params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def bearing(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def granted(token: str) -> dict[str, set[str]]:
    """What a token says that it is for. Its letters are public; only its signature proves anything."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return {f"{each['type']}:{each['name']}": set(each["actions"]) for each in claims["access"]}


@pytest.fixture
def repository(target: Target) -> str:
    """Has one tag."""
    name = target.repository()
    target.image(name, "1.0")
    return name


@pytest.mark.protocol("token.realm")
def test_realm(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    for url in ("/v2/", f"/v2/{repository}/manifests/1.0", f"/v2/{repository}/tags/list"):
        found = challenge_of(nobody.get(url))
        assert found["realm"].startswith(("http://", "https://"))
        assert (found["realm"], found["service"]) == (realm["realm"], realm["service"])
    assert nobody.head("/v2/").headers["www-authenticate"] == nobody.get("/v2/").headers["www-authenticate"]


@pytest.mark.protocol("token.scope")
def test_scope(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    reading = (
        f"/v2/{repository}/manifests/1.0",
        f"/v2/{repository}/tags/list",
        f"/v2/{repository}/blobs/sha256:{'0' * 64}",
    )
    for url in reading:
        assert challenge_of(nobody.get(url))["scope"] == f"repository:{repository}:pull"
    assert challenge_of(nobody.head(reading[0]))["scope"] == f"repository:{repository}:pull"
    for method, url in (("POST", f"/v2/{repository}/blobs/uploads/"), ("PUT", f"/v2/{repository}/manifests/x")):
        kind, name, actions = challenge_of(nobody.request(method, url))["scope"].split(":")
        assert (kind, name, set(actions.split(","))) == ("repository", repository, {"pull", "push"})
    deleting = challenge_of(nobody.delete(f"/v2/{repository}/manifests/1.0"))["scope"]
    assert "delete" in deleting.split(":")[2].split(",")


@pytest.mark.protocol("token.issued")
def test_issued(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    token = ask(target.http, realm, f"repository:{repository}:pull,push")["token"]
    assert nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token)).status_code == 200
    started = nobody.post(f"/v2/{repository}/blobs/uploads/", headers=bearing(token))
    assert started.status_code == 202
    location = target.at(started.headers["location"])
    assert nobody.delete(location, headers=bearing(token)).status_code == 204
    assert nobody.get("/v2/", headers=bearing(token)).status_code == 200


@pytest.mark.protocol("token.both-names")
def test_both_names(target: Target, realm: dict[str, str], repository: str) -> None:
    found = ask(target.http, realm, f"repository:{repository}:pull")
    assert found["token"] and found["token"] == found["access_token"]


@pytest.mark.protocol("token.expires")
def test_expires(target: Target, realm: dict[str, str], repository: str) -> None:
    found = ask(target.http, realm, f"repository:{repository}:pull")
    assert isinstance(found["expires_in"], int) and found["expires_in"] >= 60
    assert datetime.fromisoformat(found["issued_at"].replace("Z", "+00:00")).tzinfo is not None


@pytest.mark.protocol("token.not-cached")
def test_not_cached(target: Target, realm: dict[str, str]) -> None:
    answer = target.http.get(realm["realm"], params={"service": realm["service"]})
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.protocol("token.intersection")
def test_intersection(reader: httpx.Client, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    token = ask(reader, realm, f"repository:{repository}:pull,push,delete", "repository:hidden/x:pull")["token"]
    assert {name: actions for name, actions in granted(token).items() if actions} == {
        f"repository:{repository}": {"pull"}
    }
    assert nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token)).status_code == 200
    assert nobody.post(f"/v2/{repository}/blobs/uploads/", headers=bearing(token)).status_code == 403
    assert nobody.delete(f"/v2/{repository}/manifests/1.0", headers=bearing(token)).status_code == 403
    assert nobody.get("/v2/hidden/x/tags/list", headers=bearing(token)).status_code in (401, 404)


@pytest.mark.protocol("token.several-scopes")
def test_several_scopes(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    names = [repository, *(target.repository() for _ in range(3))]
    for name in names[1:]:
        target.image(name, "1.0")
    first, second, third, fourth = (f"repository:{name}:pull" for name in names)
    for scopes in ((first, second, third, fourth), (f"{first} {second} {third}", fourth)):
        token = ask(target.http, realm, *scopes)["token"]
        assert granted(token) == {f"repository:{name}": {"pull"} for name in names}
        for name in names:
            assert nobody.get(f"/v2/{name}/manifests/1.0", headers=bearing(token)).status_code == 200


@pytest.mark.protocol("token.without-scope")
def test_without_scope(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    token = ask(target.http, realm)["token"]
    assert nobody.get("/v2/", headers=bearing(token)).status_code == 200
    refused(nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token)), 401, "UNAUTHORIZED")


@pytest.mark.protocol("token.unknown-scope")
def test_unknown_scope(target: Target, realm: dict[str, str], repository: str) -> None:
    scopes = ("nonsense", "a:b:c", "repository::pull", "repository:BAD:pull", f"repository:{repository}:fly", "::", "")
    token = ask(target.http, realm, *scopes, f"repository:{repository}:pull")["token"]
    assert {name: actions for name, actions in granted(token).items() if actions} == {
        f"repository:{repository}": {"pull"}
    }


@pytest.mark.protocol("token.wrong-password")
def test_wrong_password(target: Target, realm: dict[str, str], node: RunningNode) -> None:
    for name, secret in (("dev", "gu3ss"), ("unheard-of", "gu3ss"), ("dev", ""), ("", "gu3ss"), ("ci", "tpr_gu3ss")):
        with httpx.Client(base_url=target.url, auth=(name, secret), trust_env=False) as http:
            refused(http.get(realm["realm"], params={"service": realm["service"]}), 401, "UNAUTHORIZED")
            for url in ("/v2/", "/v2/public/x/tags/list"):
                answer = http.get(url)
                refused(answer, 401, "UNAUTHORIZED")
                assert secret not in answer.text or not secret


@pytest.mark.protocol("token.insufficient")
def test_insufficient(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    other = target.repository()
    target.image(other, "1.0")
    token = ask(target.http, realm, f"repository:{repository}:pull")["token"]
    for method, url, scope in (
        ("GET", f"/v2/{other}/manifests/1.0", f"repository:{other}:pull"),
        ("POST", f"/v2/{repository}/blobs/uploads/", f"repository:{repository}:pull,push"),
        ("DELETE", f"/v2/{repository}/manifests/1.0", f"repository:{repository}:delete"),
    ):
        answer = nobody.request(method, url, headers=bearing(token))
        refused(answer, 401, "UNAUTHORIZED")
        found = challenge_of(answer)
        assert (found["error"], found["scope"]) == ("insufficient_scope", scope)
        again = ask(target.http, realm, found["scope"])["token"]
        assert nobody.request(method, url, headers=bearing(again)).status_code in (200, 202)


@pytest.mark.protocol("token.invalid")
def test_invalid(nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    for token in ("x", "a.b.c", "é".encode().decode("latin-1"), "x" * 9000, "eyJhbGciOiJub25lIn0.e30."):
        headers = {"authorization": f"Bearer {token}".encode("latin-1")}
        for url in ("/v2/", f"/v2/{repository}/manifests/1.0", "/v2/public/x/tags/list"):
            answer = nobody.get(url, headers=headers)
            refused(answer, 401, "UNAUTHORIZED")
            assert challenge_of(answer)["error"] == "invalid_token"


@pytest.mark.protocol("token.oauth-post")
def test_oauth_post(nobody: httpx.Client, realm: dict[str, str], repository: str, node: RunningNode) -> None:
    name, secret = node.auth("dev")
    form = {
        "grant_type": "password",
        "service": realm["service"],
        "client_id": "test",
        "scope": f"repository:{repository}:pull",
        "username": name,
        "password": secret,
    }
    answer = nobody.post(realm["realm"], data=form)
    assert answer.status_code == 200
    token = answer.json()["access_token"]
    assert granted(token) == {f"repository:{repository}": {"pull"}}
    assert nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token)).status_code == 200
    refused(nobody.post(realm["realm"], data={**form, "password": "wrong"}), 401, "UNAUTHORIZED")
    assert nobody.post(realm["realm"], data={**form, "grant_type": "magic"}).status_code == 400


@pytest.mark.protocol("token.refresh")
def test_refresh(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    refresh = ask(target.http, realm, offline_token="true", client_id="test")["refresh_token"]
    form = {
        "grant_type": "refresh_token",
        "service": realm["service"],
        "client_id": "test",
        "scope": f"repository:{repository}:pull",
        "refresh_token": refresh,
    }
    for _ in range(2):
        answer = nobody.post(realm["realm"], data=form)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token)).status_code == 200
    assert nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(refresh)).status_code == 401
    refused(nobody.post(realm["realm"], data={**form, "refresh_token": f"{refresh}x"}), 401, "UNAUTHORIZED")


@pytest.fixture
def public(target: Target, node: RunningNode) -> Iterator[str]:
    """A repository that everyone may pull."""
    name = target.repository("public")
    target.image(name, "1.0")
    yield name


@pytest.mark.protocol("token.anonymous")
def test_anonymous(nobody: httpx.Client, realm: dict[str, str], public: str, repository: str) -> None:
    token = ask(nobody, realm, f"repository:{public}:pull,push", f"repository:{repository}:pull")["token"]
    assert {name: actions for name, actions in granted(token).items() if actions} == {f"repository:{public}": {"pull"}}
    assert nobody.get(f"/v2/{public}/manifests/1.0", headers=bearing(token)).status_code == 200
    assert nobody.get("/v2/", headers=bearing(token)).status_code == 200
    for method, url in (("POST", f"/v2/{public}/blobs/uploads/"), ("GET", f"/v2/{repository}/manifests/1.0")):
        refused(nobody.request(method, url, headers=bearing(token)), 401, "UNAUTHORIZED")
    assert nobody.get(f"/v2/{public}/manifests/1.0").status_code == 200  # nor is a token needed


@pytest.mark.protocol("token.catalog")
def test_catalog(target: Target, nobody: httpx.Client, realm: dict[str, str], repository: str) -> None:
    assert challenge_of(nobody.get("/v2/_catalog"))["scope"] == "registry:catalog:*"
    token = ask(target.http, realm, "registry:catalog:*")["token"]
    answer = nobody.get("/v2/_catalog?n=10000", headers=bearing(token))
    assert answer.status_code == 200
    assert repository in answer.json()["repositories"]
    anonymous = ask(nobody, realm, "registry:catalog:*")["token"]
    refused(nobody.get("/v2/_catalog", headers=bearing(anonymous)), 401, "UNAUTHORIZED")
