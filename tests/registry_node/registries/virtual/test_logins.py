"""Whom a member lets in: this node by its login, the caller by the member's grants. Neither is taken for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.registry import Call
from registry_node.registries.virtual.failed import MemberFailed, MemberRefused
from registry_node.registries.virtual.opened import opened
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from tests.certificates import Authority
from tests.nodes import SECRETS, RunningNode
from tests.registry_node.registries.virtual.conftest import ALL, Make, member_of
from tests.registry_node.registries.virtual.test_over_http import push
from tests.upstreams.hub import FakeHub
from tests.upstreams.serving import Reply, Server, refusal


def virtual_over(folder: Path, *members: dict[str, Any], **settings: Any) -> VirtualRegistry:
    virtual = {"members": list(members), "unmatched": "members", **settings}
    told = {"node": "v", "scope": "v", "kind": "virtual", "listen": {"port": 0}, "data": folder, "virtual": virtual}
    return opened(NodeSettings.model_validate(told), lambda: ALL)


def closed(status: int) -> Server:
    """Lets nobody in."""
    return Server(lambda request: refusal(status, "UNAUTHORIZED" if status == 401 else "DENIED", "secret words"))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", ["local", "mirror", "virtual"])
async def test_a_member_of_ours_that_lets_this_node_not_in_is_named(tmp_path: Path, kind: str, status: int) -> None:
    with closed(status) as server:
        virtual = virtual_over(tmp_path, {"name": "one", "kind": kind, "url": server.url})
        with pytest.raises(MemberRefused, match="member one could not answer: it does not let this node in") as caught:
            await virtual.get_manifest(Call("dev"), "apps/api", "1.0")
        assert (caught.value.status, caught.value.code) == (502, "BAD_GATEWAY")
        assert "secret words" not in caught.value.message
        why = await virtual.why(Call("dev"), "apps/api", "1.0")
        assert (why.asked[0].outcome, "login" in why.asked[0].reason) == ("failed", True)
        await virtual.aclose()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_foreign_registry_that_is_asked_without_a_login_hides_what_is_not_for_everybody(
    tmp_path: Path, status: int
) -> None:
    """Docker Hub, GHCR and Quay answer so for names that do not exist: the next member may have it."""
    with closed(status) as server:
        foreign = {"name": "ghcr", "kind": "remote", "url": server.url}
        virtual = virtual_over(tmp_path, foreign)
        with pytest.raises(NameUnknown):
            await virtual.get_manifest(Call("dev"), "apps/api", "1.0")
        login = tmp_path / "login"
        login.write_text("robot:expired\n")
        virtual = virtual_over(tmp_path, {**foreign, "credentials": {"file": str(login)}})
        with pytest.raises(MemberRefused):
            await virtual.get_manifest(Call("dev"), "apps/api", "1.0")
        login.unlink()
        with pytest.raises(MemberFailed, match="credentials cannot be read"):
            await virtual.get_manifest(Call("dev"), "apps/api", "1.0")


async def test_a_token_service_that_refuses_the_login_is_no_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker Hub says 401 of a name that does not exist, to whomever; and it says 401 of a wrong password."""
    from registry_node.registries.virtual import opened as room

    monkeypatch.setattr(room, "is_docker_hub", lambda remote: True)
    login = tmp_path / "login"
    login.write_text("reader:right\n")
    with FakeHub(users={"reader": "right"}) as hub:
        image = hub.image("debian", b"layer")
        member = {"name": "hub", "kind": "remote", "url": hub.url, "credentials": {"file": str(login)}}
        virtual = virtual_over(tmp_path, {**member, "realms": ["127.0.0.2"]})
        found = await virtual.get_manifest(Call("dev"), "library/debian", "latest")
        assert found.content == image.content
        with pytest.raises((NameUnknown, ManifestUnknown)):
            await virtual.get_manifest(Call("dev"), "library/nothing", "latest")
        login.write_text("reader:wrong!\n")
        with pytest.raises(MemberRefused):
            await virtual.get_manifest(Call("dev"), "library/debian", "latest")


async def test_connections_end_with_the_node(tmp_path: Path) -> None:
    with Server(lambda request: Reply(status=404)) as server:
        virtual = virtual_over(tmp_path, *({"name": n, "kind": "local", "url": server.url} for n in ("one", "two")))
        with pytest.raises(ManifestUnknown):
            await virtual.resolve(Call("dev"), "apps/api", "1.0")
        await virtual.aclose()
        for name in ("one", "two"):
            with pytest.raises(RuntimeError, match="closed"):
                await virtual.doors[name].registry.resolve(Call("dev"), "apps/api", "1.0")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_rotated_secret_is_taken_in_and_a_private_authority_is_believed(make: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue(tmp_path / "pair")
    box: RunningNode = make("box", tls=pair, trust=authority.trusted())
    with box.client() as http:
        digest = push(http, "apps/api", "1.0", b"layer")
    member = member_of(box, ca=str(authority.file))
    secret = Path(member["credentials"]["file"])
    secret.write_text("towpath-engine:not-yet\n")
    virtual = {"members": [member], "unmatched": "members", "push_to": "box"}
    node = make("everything", kind="virtual", virtual=virtual)
    with node.client("dev") as http:
        refused = http.get("/v2/apps/api/manifests/1.0")
        error = refused.json()["errors"][0]
        assert (refused.status_code, error["code"], error["detail"]["member"]) == (502, "BAD_GATEWAY", "box")
        assert "member box" in error["message"], "clients show nothing else"
        assert "login" in error["message"]
        pushed = http.post("/v2/apps/api/blobs/uploads/")
        assert (pushed.status_code, pushed.json()["errors"][0]["detail"]["member"]) == (502, "box")
        secret.write_text(f"towpath-engine:{SECRETS['towpath-engine']}\n")
        assert http.get("/v2/apps/api/manifests/1.0").headers["docker-content-digest"] == digest
        assert http.post("/v2/apps/api/blobs/uploads/").status_code == 202
    with node.client("nobody") as http:
        hidden, absent = (http.get(f"/v2/{name}/manifests/1.0") for name in ("apps/api", "apps/none"))
        assert hidden.status_code == absent.status_code == 404
        assert hidden.text.replace("apps/api", "it") == absent.text.replace("apps/none", "it")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_refused_push_names_the_member_that_refuses(make: Make) -> None:
    """The node's login is too narrow there: the caller's own rights are not the reason."""
    box = make("box")
    virtual = {"members": [member_of(box, who="reader")], "unmatched": "members", "push_to": "box"}
    node = make("everything", kind="virtual", virtual=virtual)
    with node.client("dev") as http:
        answer = http.post("/v2/apps/api/blobs/uploads/")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
        assert answer.json()["errors"][0]["message"].startswith("member box refuses it: ")
