"""What a push needs and another member has is brought to the member that takes the push: it is whole there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from identity.grants import Action, Grant
from oci_wire.closure import report
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, NameUnknown
from oci_wire.registry import Call
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.virtual import VirtualRegistry
from tests.contract.content import image, index, push, push_blob
from tests.nodes import SECRETS, RunningNode
from tests.registry_node.registries.virtual.conftest import Make, Members, member_of
from tests.registry_node.registries.virtual.test_over_http import push as push_over_http
from tests.tools import require

CI = Call("ci")
BASE = Digest.of(b"base")


def members() -> Members:
    return Members("inside", "hub", hub="mirror")


def over(members: Members, **settings: Any) -> VirtualRegistry:
    return members.virtual(**{"unmatched": "members", "push_to": "inside", **settings})


async def test_an_index_brings_its_images() -> None:
    both = members()
    arm = await push(both["hub"], "apps/api", b"base", b"arm")
    amd = await push(both["inside"], "apps/api", b"amd", config=b'{"os": 1}')
    inner = index(arm.descriptor, annotations={"inner": "1"})
    await both["hub"].inner.put_manifest(CI, "apps/api", inner)
    virtual, call = over(both), Call("ci")
    pushed = await virtual.put_manifest(call, "apps/api", index(inner.descriptor, amd.descriptor), tags=["1.0"])
    found = await report(both["inside"].inner, CI, "apps/api", pushed.digest)
    assert (found.complete, found.missing) == (True, ())
    assert found.manifests == 4
    assert call.notes == {"x-towpath-member": "inside"}
    both.forget()
    await virtual.put_manifest(CI, "apps/api", index(inner.descriptor, amd.descriptor), tags=["1.1"])
    assert not [each for each in both["hub"].asked if each[0] != "resolve"], "what is there is not read again"


async def test_what_nobody_has_is_left_to_the_member() -> None:
    both = members()
    lost = image(b"nowhere")
    half = image(b"base", b"nowhere")
    await push_blob(both["hub"].inner, "apps/api", b"base")
    await over(both).put_manifest(CI, "apps/api", index(lost.descriptor), tags=["sparse"])
    with pytest.raises(ManifestBlobUnknown):
        await over(both).put_manifest(CI, "apps/api", half, tags=["half"])


async def test_an_image_that_is_not_whole_elsewhere_is_not_begun() -> None:
    both = members()
    child = await push(both["hub"], "apps/api", b"base", b"top")
    await both["hub"].inner.delete_blob(CI, "apps/api", Digest.of(b"top"))
    await over(both).put_manifest(CI, "apps/api", index(child.descriptor), tags=["1.0"])
    with pytest.raises((BlobUnknown, NameUnknown)):
        await both["inside"].inner.stat_blob(CI, "apps/api", BASE)


async def test_it_is_read_as_the_caller() -> None:
    both = members()
    child = await push(both["hub"], "apps/api", b"base")
    grants = {"hub": (Grant("somebody", frozenset({Action.PULL})),)}
    both.forget()
    await over(both, grants=grants).put_manifest(CI, "apps/api", index(child.descriptor), tags=["1.0"])
    with pytest.raises(ManifestUnknown):
        await both["inside"].inner.resolve(CI, "apps/api", str(child.digest))
    assert both["hub"].asked == []


async def test_who_cannot_say_whether_it_has_the_rest_stops_the_push() -> None:
    both = members()
    child = await push(both["hub"], "apps/api", b"base")
    both["hub"].down()
    with pytest.raises(MemberFailed):
        await over(both).put_manifest(CI, "apps/api", index(child.descriptor), tags=["1.0"])
    with pytest.raises((ManifestUnknown, NameUnknown)):
        await both["inside"].inner.resolve(CI, "apps/api", "1.0")


async def test_a_layer_of_another_member_is_mounted_by_a_copy() -> None:
    both = members()
    await push(both["hub"], "library/debian", b"base")
    virtual, call = over(both), Call("ci")
    assert await virtual.mount_blob(call, "apps/api", BASE, "library/debian")
    assert (await both["inside"].inner.stat_blob(CI, "apps/api", BASE)).size == 4
    assert call.notes == {"x-towpath-member": "inside"}
    assert not await virtual.mount_blob(CI, "apps/api", Digest.of(b"none"), "library/debian")
    both["hub"].down()
    assert not await virtual.mount_blob(CI, "apps/web", BASE, "library/debian"), "then the client sends it"
    hidden = {"hub": (Grant("somebody", frozenset({Action.PULL})),)}
    both["hub"].failing = None
    assert not await over(both, grants=hidden).mount_blob(CI, "apps/web", BASE, "library/debian")


# With real clients, through real nodes


@pytest.fixture
def registries(make: Make) -> tuple[RunningNode, RunningNode, RunningNode]:
    """A member with a base image, the one that takes pushes, and the virtual before both."""
    base, inside = make("base"), make("inside")
    virtual = {"members": [member_of(inside), member_of(base)], "unmatched": "members", "push_to": "inside"}
    return base, inside, make("everything", kind="virtual", virtual=virtual)


def ran(*command: str, **options: Any) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.slow
@pytest.mark.clients
@pytest.mark.timeout(180)
def test_crane_appends_to_an_index_and_buildah_pushes_one(
    registries: tuple[RunningNode, RunningNode, RunningNode], tmp_path: Path
) -> None:
    base, inside, virtual = registries
    crane, buildah = require("crane"), require("buildah")
    with base.client() as http:
        digests = [push_over_http(http, "apps/api", tag, b"layer of " + tag.encode()) for tag in ("arm", "amd")]
    auth, environment = tmp_path / "auth", {"DOCKER_CONFIG": str(tmp_path / "auth"), "HOME": str(tmp_path)}
    auth.mkdir()
    ran(crane, "auth", "login", "-u", "dev", "-p", SECRETS["dev"], virtual.host, "--insecure", env=environment)
    children = [f"--manifest={virtual.host}/apps/api:{tag}" for tag in ("arm", "amd")]
    whole = f"{virtual.host}/apps/api:whole"
    ran(crane, "index", "append", "--insecure", "-t", whole, *children, env=environment)
    _is_whole(inside, "whole", digests)
    creds = f"dev:{SECRETS['dev']}"
    store = ("--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs")
    ran(buildah, *store, "manifest", "create", "list")
    for tag in ("arm", "amd"):
        source = f"docker://{virtual.host}/apps/api:{tag}"
        ran(buildah, *store, "manifest", "add", "--tls-verify=false", f"--creds={creds}", "list", source)
    target = f"docker://{virtual.host}/apps/api:built"
    ran(buildah, *store, "manifest", "push", "--all", "--tls-verify=false", f"--creds={creds}", "list", target)
    _is_whole(inside, "built", digests)


def _is_whole(node: RunningNode, tag: str, digests: list[str]) -> None:
    """Where it was pushed, without any other member."""
    with node.client() as http:
        found = http.get(f"/v2/apps/api/manifests/{tag}")
        children = [each["digest"] for each in found.json()["manifests"]]
        assert sorted(children) == sorted(digests)
    with node.client("towpath-engine") as http:
        digest = found.headers["docker-content-digest"]
        closure = http.get(f"/_towpath/v1/r/apps/api/_/closure/{digest}").json()
        assert closure["complete"], closure


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_push_on_top_of_another_members_layer(registries: tuple[RunningNode, RunningNode, RunningNode]) -> None:
    """As docker does it: a mount of the base layer from the repository that it was pulled from."""
    base, inside, virtual = registries
    layer = b"base" * 100_000
    with base.client() as http:
        push_over_http(http, "library/debian", "12", layer)
    digest = str(Digest.of(layer))
    with virtual.client() as http:
        mounted = http.post("/v2/apps/api/blobs/uploads/", params={"mount": digest, "from": "library/debian"})
        assert (mounted.status_code, mounted.headers["x-towpath-member"]) == (201, "inside")
        absent = http.post("/v2/apps/api/blobs/uploads/", params={"mount": digest, "from": "library/none"})
        assert absent.status_code == 202
        assert http.delete(absent.headers["location"]).status_code == 204
    with inside.client() as http:
        found: httpx.Response = http.get(f"/v2/apps/api/blobs/{digest}")
        assert found.content == layer
