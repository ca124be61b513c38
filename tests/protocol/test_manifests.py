"""Pushing manifests: references, digests, tags."""

from __future__ import annotations

import json
import threading

import httpx
import pytest

from tests.protocol.target import ACCEPT, OCI_MANIFEST, Target, digest_of, image, noise, refused

NOWHERE = digest_of(b"nowhere")


def pulled(target: Target, answer: httpx.Response, content: bytes) -> None:
    """A 201 whose Location gives the manifest."""
    assert answer.status_code == 201, answer.text
    got = target.http.get(target.at(answer.headers["location"]))
    assert (got.status_code, got.content) == (200, content)


def fresh(target: Target, repository: str, **fields: object) -> bytes:
    """An image whose blobs are there, not pushed itself."""
    layer = noise()
    for content in (b"{}", layer):
        target.blob(repository, content)
    return image(layer, **fields)


@pytest.mark.protocol("manifests.by-tag")
def test_by_tag(target: Target) -> None:
    repository = target.repository()
    content = fresh(target, repository)
    pulled(target, target.put(repository, "1.0", content), content)
    assert target.get(repository, "1.0").content == content
    assert target.tags(repository) == ["1.0"]


@pytest.mark.protocol("manifests.by-digest")
def test_by_digest(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "other")
    content = fresh(target, repository)
    pulled(target, target.put(repository, digest_of(content), content), content)
    assert target.tags(repository) == ["other"]


@pytest.mark.protocol("manifests.digest-header")
def test_digest_header(target: Target) -> None:
    repository = target.repository()
    content = fresh(target, repository)
    for reference in ("1.0", digest_of(content)):
        answer = target.put(repository, reference, content)
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest_of(content))


@pytest.mark.protocol("manifests.wrong-digest")
def test_wrong_digest(target: Target) -> None:
    repository = target.repository()
    content = fresh(target, repository)
    for digest in (NOWHERE, digest_of(b"nowhere", "sha512")):
        refused(target.put(repository, digest, content), 400, "DIGEST_INVALID")
        assert target.status(repository, digest) == 404
    assert target.status(repository, digest_of(content)) == 404


@pytest.mark.protocol("manifests.missing-blob")
def test_missing_blob(target: Target) -> None:
    repository, other = target.repository(), target.repository()
    layer = noise()
    target.blob(repository, b"{}")
    target.blob(other, layer)
    content = image(layer)
    refused(target.put(repository, "1.0", content), (400, 404), "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")
    assert target.status(repository, digest_of(content)) == target.status(repository, "1.0") == 404
    target.blob(repository, layer)
    assert target.put(repository, "1.0", content).status_code == 201


def _as_large_as(size: int) -> bytes:
    spare = size - len(image(annotations={"fill": ""}))
    content = image(annotations={"fill": "x" * spare})
    assert len(content) == size
    return content


@pytest.mark.protocol("manifests.four-mebibytes")
def test_four_mebibytes(target: Target) -> None:
    repository = target.repository()
    target.blob(repository, b"{}")
    content = _as_large_as(4 * 1024 * 1024)
    pulled(target, target.put(repository, "large", content), content)
    assert target.get(repository, "large").content == content


@pytest.mark.protocol("manifests.too-large")
def test_too_large(target: Target) -> None:
    """The limit is the registry's own; every one has one below 64 MiB."""
    repository = target.repository()
    target.image(repository, "1.0")
    content = _as_large_as(64 * 1024 * 1024) if not target.ours else _as_large_as(4 * 1024 * 1024 + 1)
    assert target.put(repository, "huge", content).status_code == 413
    assert target.status(repository, "huge") == target.status(repository, digest_of(content)) == 404
    assert target.tags(repository) == ["1.0"]


@pytest.mark.protocol("manifests.sha512")
def test_sha512(target: Target) -> None:
    repository = target.repository()
    content = fresh(target, repository)
    digest = digest_of(content, "sha512")
    answer = target.put(repository, digest, content)
    pulled(target, answer, content)
    assert answer.headers["docker-content-digest"] == digest
    got = target.get(repository, digest)
    assert (got.content, got.headers["docker-content-digest"]) == (content, digest)
    assert target.status(repository, digest) == 200


@pytest.mark.protocol("manifests.tag-parameter")
def test_tag_parameter(target: Target) -> None:
    repository, tags = target.repository(), [f"t{each}" for each in range(10)]
    content = fresh(target, repository)
    url = f"/v2/{repository}/manifests/{digest_of(content)}"
    sent = target.http.put(url, params={"tag": tags}, content=content, headers={"content-type": OCI_MANIFEST})
    pulled(target, sent, content)
    assert target.tags(repository) == tags
    for tag in tags:
        assert target.get(repository, tag).content == content


@pytest.mark.protocol("manifests.oci-tag")
def test_oci_tag(target: Target) -> None:
    repository, tags = target.repository(), [f"t{each}" for each in range(10)]
    content = fresh(target, repository)
    url = f"/v2/{repository}/manifests/{digest_of(content)}"
    sent = target.http.put(url, params={"tag": tags}, content=content, headers={"content-type": OCI_MANIFEST})
    assert sent.status_code == 201
    said = [each.strip() for value in sent.headers.get_list("oci-tag") for each in value.split(",")]
    assert sorted(said) == tags
    assert "oci-tag" not in target.put(repository, digest_of(content), content).headers


@pytest.mark.protocol("manifests.tag-parameter-bad")
def test_tag_parameter_bad(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "before")
    content = fresh(target, repository)
    url = f"/v2/{repository}/manifests/{digest_of(content)}"
    for bad in (".bad", "x" * 129, "a b", ""):
        query = {"tag": ["good", bad]}
        answer = target.http.put(url, params=query, content=content, headers={"content-type": OCI_MANIFEST})
        assert 400 <= answer.status_code < 500, bad
        assert target.tags(repository) == ["before"]
        assert target.status(repository, digest_of(content)) == 404


@pytest.mark.protocol("manifests.tags-too-many")
def test_tags_too_many(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "before")
    content = fresh(target, repository)
    url = f"/v2/{repository}/manifests/{digest_of(content)}"
    query = {"tag": [f"t{each}" for each in range(150)]}
    answer = target.http.put(url, params=query, content=content, headers={"content-type": OCI_MANIFEST})
    assert answer.status_code == 414
    assert answer.json()["errors"][0]["message"]
    assert target.tags(repository) == ["before"]
    assert target.status(repository, digest_of(content)) == 404


@pytest.mark.protocol("manifests.retag")
def test_retag(target: Target) -> None:
    repository = target.repository()
    first, second = target.image(repository, "1.0"), target.image(repository, "1.0")
    assert target.get(repository, "1.0").content == second.content
    assert target.get(repository, first.digest).content == first.content
    assert target.tags(repository) == ["1.0"]
    assert target.put(repository, "1.0", first.content).status_code == 201
    assert target.get(repository, "1.0").content == first.content


@pytest.mark.protocol("manifests.retag-atomic")
def test_retag_atomic(target: Target) -> None:
    repository = target.repository()
    both = [target.image(repository, "1.0") for _ in range(2)]
    wanted, done = {each.content for each in both}, threading.Event()
    seen: list[tuple[int, bytes, str]] = []

    def read() -> None:
        with httpx.Client(base_url=target.url, auth=target.http.auth, trust_env=False) as http:
            while not done.is_set():
                answer = http.get(f"/v2/{repository}/manifests/1.0", headers={"accept": ACCEPT})
                seen.append((answer.status_code, answer.content, answer.headers.get("docker-content-digest", "")))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    try:
        for turn in range(60):
            target.put(repository, "1.0", both[turn % 2].content)
    finally:
        done.set()
        for each in readers:
            each.join(30)
    assert len(seen) > 10
    assert {status for status, _, _ in seen} == {200}
    assert {content for _, content, _ in seen} <= wanted
    assert all(digest == digest_of(content) for _, content, digest in seen)


@pytest.mark.protocol("manifests.again")
def test_again(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    for reference in ("1.0", "1.1", pushed.digest):
        pulled(target, target.put(repository, reference, pushed.content), pushed.content)
    assert target.tags(repository) == ["1.0", "1.1"]


@pytest.mark.protocol("manifests.not-json")
def test_not_json(target: Target) -> None:
    repository = target.repository()
    good = json.loads(target.image(repository, "1.0").content)
    layer = good["layers"][0]
    broken = [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schemaVersion": 2', b"[" * 50_000, b"{}", b'"text"'),
        *(json.dumps({**good, **each}).encode() for each in ({"schemaVersion": 3}, {"config": None}, {"layers": {}})),
        json.dumps({**good, "layers": [{**layer, "digest": "sha256:abc"}]}).encode(),
        json.dumps({**good, "layers": [{**layer, "size": -1}]}).encode(),
        json.dumps({**good, "layers": [{"digest": layer["digest"]}]}).encode(),
    ]
    for content in broken:
        answer = target.put(repository, "broken", content)
        refused(answer, 400, "MANIFEST_INVALID")
        assert target.status(repository, "broken") == target.status(repository, digest_of(content)) == 404
    assert target.tags(repository) == ["1.0"]
