"""A node of kind virtual over real nodes, asked over HTTP by real clients and by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.digest import Digest
from tests.contract.implementations import docker_registry
from tests.nodes import SECRETS, RunningNode, free_port
from tests.registry_node.images import image
from tests.registry_node.registries.virtual.conftest import Make, member_of
from tests.tools import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
OCI = "application/vnd.oci.image.manifest.v1+json"


def push(http: httpx.Client, repository: str, tag: str, *layers: bytes) -> str:
    """Gives the manifest's digest."""
    for content in (b"{}", *layers):
        session = http.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        ended = http.put(httpx.URL(session).copy_add_param("digest", str(Digest.of(content))), content=content)
        assert ended.status_code == 201, ended.text
    put = http.put(f"/v2/{repository}/manifests/{tag}", content=image(*layers), headers={"content-type": OCI})
    assert put.status_code == 201, put.text
    return str(put.headers["docker-content-digest"])


def virtual_over(make: Make, *members: dict[str, Any], **virtual: Any) -> RunningNode:
    return make("everything", kind="virtual", virtual={"members": list(members), "unmatched": "members", **virtual})


def skopeo(node: RunningNode, *arguments: str) -> None:
    program = require("skopeo")
    ran = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.clients
def test_skopeo_pulls_from_two_nodes_and_a_foreign_registry(make: Make, tmp_path: Path) -> None:
    first, second = make("first"), make("second")
    (tmp_path / "foreign").mkdir()
    with docker_registry(tmp_path / "foreign") as url:
        foreign = {"name": "foreign", "kind": "remote", "url": url}
        node = virtual_over(make, member_of(first), member_of(second), foreign)
        with first.client() as one, second.client() as two, httpx.Client(base_url=url, trust_env=False) as three:
            digests = {
                "apps/one": push(one, "apps/one", "1.0", b"one" * 1000),
                "apps/two": push(two, "apps/two", "1.0", b"two" * 300_000),
                "apps/three": push(three, "apps/three", "1.0", b"three" * 1000),
            }
        creds = ("--src-creds", f"reader:{SECRETS['reader']}", "--src-tls-verify=false")
        for repository, digest in digests.items():
            folder = tmp_path / repository.partition("/")[2]
            skopeo(node, "copy", *creds, f"docker://{node.host}/{repository}:1.0", f"dir:{folder}")
            assert str(Digest.of((folder / "manifest.json").read_bytes())) == digest


def test_it_says_which_member_answered(make: Make) -> None:
    first, second = make("first"), make("second")
    node = virtual_over(make, member_of(first), member_of(second))
    with first.client() as one, second.client() as two:
        digest = push(one, "apps/api", "1.0", b"layer")
        push(two, "apps/other", "1.0", b"layer")
    with node.client("reader") as http:
        for repository, member in (("apps/api", "first"), ("apps/other", "second")):
            for method in ("GET", "HEAD"):
                answer = http.request(method, f"/v2/{repository}/manifests/1.0")
                assert (answer.status_code, answer.headers["x-towpath-member"]) == (200, member)
                blob = http.request(method, f"/v2/{repository}/blobs/{Digest.of(b'layer')}")
                assert (blob.status_code, blob.headers["x-towpath-member"]) == (200, member)
        part = http.get(f"/v2/apps/api/blobs/{Digest.of(b'layer')}", headers={"range": "bytes=1-3"})
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"aye", "bytes 1-3/5")
        why = http.get("/_towpath/v1/r/apps/api/_/why/1.0").json()
        assert (why["answered"], why["digest"], why["rule"]) == ("first", digest, "unmatched: members in order")
        assert http.get("/v2/apps/none/manifests/1.0").json()["errors"][0]["code"] == "NAME_UNKNOWN"
        assert http.get("/v2/apps/api/manifests/none").json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
        tags = http.get("/v2/apps/api/tags/list").json()["tags"]
        assert tags == ["1.0"]
        assert http.get("/v2/_catalog").json()["repositories"] == ["apps/api", "apps/other"]


def test_a_push_goes_to_its_member_and_is_read_at_once(make: Make) -> None:
    first, second = make("first"), make("second")
    node = virtual_over(make, member_of(first), member_of(second), push_to="second")
    with node.client() as http, second.client() as direct, first.client() as other:
        digest = push(http, "apps/api", "2.0", b"pushed through")
        started = http.post("/v2/apps/api/blobs/uploads/")
        assert (started.status_code, started.headers["x-towpath-member"]) == (202, "second")
        location = started.headers["location"]
        assert second.host not in location
        content = b"in two parts"
        piece = http.patch(location, content=content[:5], headers={"content-range": "0-4"})
        assert (piece.status_code, piece.headers["range"]) == (202, "0-4")
        node.restart()
        assert http.get(piece.headers["location"]).headers["range"] == "0-4"
        with node.client("ci") as another:
            assert another.get(piece.headers["location"]).status_code == 404
        done = http.put(piece.headers["location"], params={"digest": str(Digest.of(content))}, content=content[5:])
        assert done.status_code == 201, done.text
        assert http.get(f"/v2/apps/api/blobs/{Digest.of(content)}").content == content
        for each, status in ((http, 200), (direct, 200), (other, 404)):
            assert each.get(f"/v2/apps/api/manifests/{digest}").status_code == status
        assert http.delete("/v2/apps/api/manifests/2.0").status_code == 202
        assert direct.get("/v2/apps/api/manifests/2.0").status_code == 404


def test_without_a_member_for_pushes_nobody_pushes(make: Make) -> None:
    first = make("first")
    node = virtual_over(make, member_of(first))
    with node.client() as http:
        for answer in (
            http.post("/v2/apps/api/blobs/uploads/"),
            http.put("/v2/apps/api/manifests/1.0", content=image(b"x"), headers={"content-type": OCI}),
            http.delete("/v2/apps/api/manifests/1.0"),
        ):
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, "UNSUPPORTED")
            assert "push_to" in answer.json()["errors"][0]["message"]


def test_a_member_that_is_down_is_no_404(make: Make) -> None:
    first, second = make("first"), make("second")
    node = virtual_over(make, member_of(first), member_of(second))
    with second.client() as two:
        digest = push(two, "apps/api", "1.0", b"layer")
    first.kill()
    with node.client("reader") as http:
        for path in ("apps/api/manifests/1.0", "apps/none/manifests/1.0", "apps/api/tags/list", "_catalog"):
            answer = http.get(f"/v2/{path}")
            error = answer.json()["errors"][0]
            assert (answer.status_code, error["code"], error["detail"]["member"]) == (503, "UNAVAILABLE", "first"), path
            assert "member first" in error["message"], "clients show nothing else"
            assert first.host not in answer.text
            assert int(answer.headers["retry-after"]) > 0
        assert http.get(f"/v2/apps/api/manifests/{digest}").headers["x-towpath-member"] == "second"
        assert http.get(f"/v2/apps/api/blobs/{Digest.of(b'layer')}").status_code == 200
        why = http.get("/_towpath/v1/r/apps/api/_/why/1.0").json()
        assert [(each["member"], each["outcome"]) for each in why["asked"]] == [
            ("first", "failed"),
            ("second", "not asked"),
        ]


def test_virtuals_that_name_each_other_end_at_once(make: Make, tmp_path: Path) -> None:
    here, there = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    for name, own, other in (("here", here, there), ("there", there, here)):
        secret = tmp_path / "secret"
        secret.write_text(f"reader:{SECRETS['reader']}")
        member = {"name": "other", "kind": "virtual", "url": other, "credentials": {"file": str(secret)}}
        listen = {"host": "127.0.0.1", "port": int(own.rpartition(":")[2])}
        make(name, kind="virtual", listen=listen, virtual={"members": [member], "unmatched": "members"})
    auth = ("reader", SECRETS["reader"])
    for path in ("apps/api/manifests/1.0", "apps/api/tags/list", f"apps/api/blobs/{Digest.of(b'x')}", "_catalog"):
        answer = httpx.get(f"{here}/v2/{path}", auth=auth, timeout=20, trust_env=False)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (508, "LOOP_DETECTED"), path


def test_a_virtual_of_virtuals(make: Make) -> None:
    box = make("box")
    inner = make("inner", kind="virtual", virtual={"members": [member_of(box)], "unmatched": "members"})
    outer = make("outer", kind="virtual", virtual={"members": [member_of(inner, "virtual")], "unmatched": "members"})
    with box.client() as direct:
        digest = push(direct, "apps/api", "1.0", b"layer")
    with outer.client("reader") as http:
        answer = http.get("/v2/apps/api/manifests/1.0")
        assert (answer.headers["docker-content-digest"], answer.headers["x-towpath-member"]) == (digest, "inner")
        why = http.get("/_towpath/v1/r/apps/api/_/why/1.0").json()
        assert why["asked"][0]["reason"] == "there: box (unmatched: members in order)"
