from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from oci_wire.auth import parse_challenges
from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from tests.registry_node.conftest import DEV, ENGINE, GRANTS, READER, ROBOT, USERS, asking, settings
from tests.registry_node.images import image, push_blob, push_image

NOBODY = ("nobody", DEV[1])


def code(answer: httpx.Response) -> str:
    return str(json.loads(answer.content)["errors"][0]["code"])


async def token_for(app: App, who: tuple[str, str] | None, *scopes: str) -> dict[str, str]:
    """The headers that bring a token for these scopes."""
    async with asking(app, who) as http:
        answer = await http.get("/auth/token", params=[("service", "box"), *(("scope", each) for each in scopes)])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["token"] == body["access_token"]
    assert body["expires_in"] >= 60
    assert body["issued_at"].endswith("Z")
    return {"authorization": f"Bearer {body['token']}"}


async def test_who_does_not_say_who_they_are_is_challenged(app: App) -> None:
    async with asking(app, None) as http:
        answer = await http.get("/v2/")
    assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
    (challenge,) = parse_challenges(answer.headers["www-authenticate"])
    assert (challenge.scheme, challenge.parameters["realm"]) == ("bearer", "http://box.test/auth/token")
    assert challenge.parameters["service"] == "box"


async def test_a_challenge_names_the_scope_to_ask_for(app: App) -> None:
    async with asking(app, None) as http:
        for method, path, scope in (
            ("GET", "/v2/apps/api/manifests/1.0", "repository:apps/api:pull"),
            ("POST", "/v2/apps/api/blobs/uploads/", "repository:apps/api:pull,push"),
            ("DELETE", "/v2/apps/api/manifests/1.0", "repository:apps/api:delete"),
            ("GET", "/v2/_catalog", "registry:catalog:*"),
            ("POST", "/_towpath/v1/r/apps/api/_/leases", "repository:apps/api:promote"),
        ):
            answer = await http.request(method, path)
            assert answer.status_code == 401
            assert parse_challenges(answer.headers["www-authenticate"])[0].parameters["scope"] == scope


@pytest.mark.parametrize("who", [DEV, READER, ROBOT, NOBODY])
async def test_docker_login_works_for_everyone_with_basic_and_with_a_token_without_scope(
    app: App, who: tuple[str, str]
) -> None:
    bearer = await token_for(app, who)
    async with asking(app, who) as basic, asking(app, None) as anonymous:
        assert (await basic.get("/v2/")).status_code == 200
        assert (await anonymous.get("/v2/", headers=bearer)).status_code == 200


@pytest.mark.parametrize(
    "who", [("dev", "wrong"), ("ci", "wrong"), ("stranger", "wrong"), ("dev", ""), ("dev", "x" * 100)]
)
async def test_wrong_credentials_are_refused_everywhere_in_the_same_words(app: App, who: tuple[str, str]) -> None:
    async with asking(app, who) as http:
        for path in ("/v2/", "/auth/token", "/v2/public/api/manifests/1.0"):
            answer = await http.get(path)
            assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
            assert answer.json()["errors"][0]["message"] == "unknown user or wrong password"
            assert "www-authenticate" in answer.headers


@pytest.mark.attack("A-private-absent")
async def test_absent_and_forbidden_look_alike(app: App, http: httpx.AsyncClient) -> None:
    await push_image(http, "secret/api", "1.0", b"layer")
    gone = f"sha256:{'0' * 64}"
    for path in ("manifests/1.0", f"blobs/{gone}", "tags/list", f"referrers/{gone}"):
        async with asking(app, READER) as reader:
            there, not_there = [await reader.get(f"/v2/secret/{name}/{path}") for name in ("api", "xyz")]
        assert there.status_code == not_there.status_code == 404
        assert there.text.replace("secret/api", "secret/xyz") == not_there.text
    async with asking(app, READER) as reader:
        there, not_there = [await reader.post(f"/v2/secret/{name}/blobs/uploads/") for name in ("api", "xyz")]
    assert there.status_code == not_there.status_code == 403
    assert there.text.replace("secret/api", "secret/xyz") == not_there.text


async def test_everyone_pulls_what_is_public_and_nothing_else(app: App, http: httpx.AsyncClient) -> None:
    await push_image(http, "public/api", "1.0", b"layer")
    bearer = await token_for(app, None, "repository:public/api:pull")
    async with asking(app, None) as anonymous:
        assert (await anonymous.get("/v2/public/api/manifests/1.0")).status_code == 200
        assert (await anonymous.get("/v2/public/api/manifests/1.0", headers=bearer)).status_code == 200
        assert (await anonymous.get("/v2/", headers=bearer)).status_code == 200
        assert (await anonymous.post("/v2/public/api/blobs/uploads/", headers=bearer)).status_code == 401
        assert (await anonymous.get("/v2/publicity/api/manifests/1.0")).status_code == 401  # a prefix never grants


async def test_a_token_holds_what_was_asked_and_granted_and_no_more(app: App, http: httpx.AsyncClient) -> None:
    await push_image(http, "apps/api", "1.0", b"layer")
    asked = await token_for(app, READER, "repository:apps/api:pull,push repository:secret/x:pull", "nonsense", "a:b:c")
    async with asking(app, None) as client:
        assert (await client.get("/v2/apps/api/manifests/1.0", headers=asked)).status_code == 200
        refused = await client.post("/v2/apps/api/blobs/uploads/", headers=asked)
        assert (refused.status_code, code(refused)) == (403, "DENIED")
        other = await client.get("/v2/apps/other/tags/list", headers=asked)  # granted, but the token is not for it
        assert other.status_code == 401
        challenge = parse_challenges(other.headers["www-authenticate"])[0].parameters
        assert (challenge["error"], challenge["scope"]) == ("insufficient_scope", "repository:apps/other:pull")
        assert (await client.get("/v2/secret/x/tags/list", headers=asked)).status_code == 404


async def test_a_token_mounts_from_anywhere_when_it_was_issued_for_that(app: App, http: httpx.AsyncClient) -> None:
    """A mount that names no source. The challenge does not tell whether the blob is anywhere."""
    digest = await push_blob(http, "apps/base", b"a layer")
    mount = {"mount": digest}
    narrow = await token_for(app, DEV, "repository:apps/api:pull,push")
    async with asking(app, None) as client:
        for wanted in (mount, {"mount": str(Digest.of(b"nowhere"))}):
            refused = await client.post("/v2/apps/api/blobs/uploads/", params=wanted, headers=narrow)
            assert refused.status_code == 401
            challenge = parse_challenges(refused.headers["www-authenticate"])[0].parameters
            assert challenge["scope"] == "repository:apps/api:pull,push registry:blobs:pull"
        wide = await token_for(app, DEV, challenge["scope"])
        assert (await client.post("/v2/apps/api/blobs/uploads/", params=mount, headers=wide)).status_code == 201
        # Who may not pull everything neither gets such a token nor is told to ask for one.
        robot = await token_for(app, ROBOT, "repository:ci/api:pull,push registry:blobs:pull")
        assert (await client.post("/v2/ci/api/blobs/uploads/", params=mount, headers=robot)).status_code == 202
        assert (await client.get(f"/v2/ci/api/blobs/{digest}", headers=robot)).status_code == 404


@pytest.mark.attack("A-revoked-at-once")
async def test_a_token_says_no_more_than_the_grants_of_today(tmp_path: Path, registry: MemoryRegistry) -> None:
    """CVE-2025-23208: who lost a grant, or is declared no longer, loses it within the token's life."""
    before = build.app_of(settings(tmp_path), registry, log=False)
    bearer = await token_for(before, DEV, "repository:apps/api:pull,push")
    for changes, status in (
        ({"grants": [each for each in GRANTS if each["to"] != "dev"]}, 403),
        (
            {"users": {name: user for name, user in settings(tmp_path).model_dump()["users"].items() if name != "dev"}},
            401,
        ),
    ):
        after = build.app_of(settings(tmp_path, **changes), registry, log=False)
        async with asking(after, None) as client:
            assert (await client.post("/v2/apps/api/blobs/uploads/", headers=bearer)).status_code == status


async def test_an_oauth_client_posts_its_password(app: App) -> None:
    form = {
        "grant_type": "password",
        "username": "dev",
        "password": DEV[1],
        "service": "box",
        "scope": "repository:a:pull",
    }
    async with asking(app, None) as client:
        answer = await client.post("/auth/token", data=form)
        assert (answer.status_code, answer.json()["scope"]) == (200, "repository:a:pull")
        assert (await client.post("/auth/token", data={**form, "password": "wrong"})).status_code == 401
        assert (await client.post("/auth/token", data={"grant_type": "client_credentials"})).status_code == 400
        assert (await client.post("/auth/token", content=b"x" * 70_000)).status_code == 400


@pytest.mark.parametrize("policy", ["promotion-only", "replication-only"])
async def test_a_promotion_only_scope_takes_images_from_the_engine_alone(
    tmp_path: Path, registry: MemoryRegistry, policy: str
) -> None:
    app = build.app_of(settings(tmp_path, scope="prod", rules={"write": policy}), registry, log=False)
    async with asking(app, DEV) as dev, asking(app, ENGINE) as engine:
        refused = await dev.post("/v2/apps/api/blobs/uploads/")
        assert (refused.status_code, code(refused)) == (403, "DENIED")
        if policy == "promotion-only":
            assert "towpath promote" in refused.json()["errors"][0]["message"]
        refused = await dev.put("/v2/apps/api/manifests/1.0", content=image(), headers={"content-type": OCI_MANIFEST})
        assert refused.status_code == 403
        await push_image(engine, "apps/api", "1.0", b"layer")
        assert (await dev.get("/v2/apps/api/manifests/1.0")).status_code == 200


async def test_read_only_and_robots_only(tmp_path: Path, registry: MemoryRegistry) -> None:
    frozen = build.app_of(settings(tmp_path, rules={"write": "read-only"}), registry, log=False)
    async with asking(frozen, ENGINE) as engine:
        assert (await engine.post("/v2/apps/api/blobs/uploads/")).status_code == 403
        assert (await engine.delete("/v2/apps/api/manifests/1.0")).status_code == 403
    robots = build.app_of(settings(tmp_path, rules={"write": "robots"}), registry, log=False)
    async with asking(robots, DEV) as dev, asking(robots, ROBOT) as robot:
        assert (await dev.post("/v2/ci/api/blobs/uploads/")).status_code == 403
        assert (await robot.post("/v2/ci/api/blobs/uploads/")).status_code == 202


async def test_a_grant_may_name_tags(tmp_path: Path, registry: MemoryRegistry) -> None:
    grants = [{"to": "dev", "allow": ["pull", "push"]}, {"to": "ci", "allow": ["pull", "push"], "tags": ["dev-*"]}]
    app = build.app_of(settings(tmp_path, grants=grants), registry, log=False)
    async with asking(app, ROBOT) as robot, asking(app, DEV) as dev:
        await push_image(dev, "apps/api", "stable", b"layer")
        await push_image(robot, "apps/api", "dev-1", b"layer")
        kind = {"content-type": OCI_MANIFEST}
        assert (await robot.put("/v2/apps/api/manifests/stable", content=image(), headers=kind)).status_code == 403
        both = f"/v2/apps/api/manifests/{Digest.of(image())}?tag=dev-2&tag=stable"
        assert (await robot.put(both, content=image(), headers=kind)).status_code == 403
        assert (await robot.get("/v2/apps/api/manifests/stable")).status_code == 404


@pytest.mark.attack("A-catalog")
async def test_the_catalog_shows_what_one_may_pull_and_wants_a_name(app: App, http: httpx.AsyncClient) -> None:
    for name in ("apps/a", "apps/b", "apps/c", "public/x", "secret/x"):
        await push_image(http, name, "1.0", b"layer")
    async with asking(app, None) as anonymous, asking(app, READER) as reader:
        assert (await anonymous.get("/v2/_catalog")).status_code == 401
        assert (await reader.get("/v2/_catalog")).json()["repositories"] == ["apps/a", "apps/b", "apps/c", "public/x"]
        page = await reader.get("/v2/_catalog", params={"n": 3})
        assert page.json()["repositories"] == ["apps/a", "apps/b", "apps/c"]
        rest = await reader.get(page.headers["link"].partition(">")[0].lstrip("<"))
        assert rest.json()["repositories"] == ["public/x"]
        assert "link" not in rest.headers


@pytest.mark.attack("A-other-upload")
async def test_another_users_upload_is_unknown(app: App, http: httpx.AsyncClient) -> None:
    location = (await http.post("/v2/ci/api/blobs/uploads/")).headers["location"]
    async with asking(app, ROBOT) as robot:
        for method in ("GET", "PATCH", "DELETE"):
            answer = await robot.request(method, location)
            assert (answer.status_code, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")
        answer = await robot.put(location, params={"digest": str(Digest.of(b"x"))}, content=b"x")
        assert (answer.status_code, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")
    digest = await push_blob(http, "ci/other", b"x")
    elsewhere = await http.put(location.replace("ci/api", "ci/other"), params={"digest": digest}, content=b"x")
    assert elsewhere.status_code == 404


async def test_a_grant_for_some_tags_deletes_no_digest(tmp_path: Path, registry: MemoryRegistry) -> None:
    grants = [*GRANTS, {"to": "ci", "allow": ["delete"], "repositories": ["ci/**"], "tags": ["dev-*"]}]
    app = build.app_of(settings(tmp_path, grants=grants), registry, log=False)
    async with asking(app, ROBOT) as http:
        digest = str(Digest.of(await push_image(http, "ci/api", "dev-1", b"layer")))
        body = (await http.get("/v2/ci/api/manifests/dev-1")).content
        await http.put("/v2/ci/api/manifests/1.0", content=body, headers={"content-type": OCI_MANIFEST})
        for path in (f"manifests/{digest}", "manifests/1.0", f"blobs/{Digest.of(b'layer')}"):
            assert (await http.delete(f"/v2/ci/api/{path}")).status_code == 403, path
        assert (await http.delete("/v2/ci/api/manifests/dev-1")).status_code == 202
        assert (await http.get("/v2/ci/api/manifests/1.0")).status_code == 200


@pytest.mark.parametrize("group", ["ci", "everyone", "authenticated"])
def test_a_name_means_one_thing(tmp_path: Path, group: str) -> None:
    users = {**USERS, "dev": {**USERS["dev"], "groups": [group]}}
    with pytest.raises(ValueError, match=group):
        settings(tmp_path, users=users)
