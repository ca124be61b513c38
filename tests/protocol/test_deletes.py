"""Deletion, and what stays."""

from __future__ import annotations

import httpx
import pytest

from tests.protocol.target import Target, digest_of, noise, refused

NOWHERE = digest_of(b"nowhere")


def delete(target: Target, repository: str, reference: str, http: httpx.Client | None = None) -> httpx.Response:
    kind = "" if "/" in reference else "manifests/"
    return (http or target.http).delete(f"/v2/{repository}/{kind}{reference}")


@pytest.mark.protocol("delete.tag")
def test_tag(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    assert delete(target, repository, "1.0").status_code == 202
    assert target.status(repository, "1.0") == 404
    refused(target.get(repository, "1.0"), 404, "MANIFEST_UNKNOWN")
    assert target.tags(repository) == []


@pytest.mark.protocol("delete.tag-keeps-digest")
def test_tag_keeps_digest(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    assert target.put(repository, "1.1", pushed.content).status_code == 201
    assert delete(target, repository, "1.0").status_code == 202
    for reference in ("1.1", pushed.digest):
        assert target.get(repository, reference).content == pushed.content
    assert target.blob_status(repository, str(pushed.json["layers"][0]["digest"])) == 200
    assert target.tags(repository) == ["1.1"]


@pytest.mark.protocol("delete.manifest")
def test_manifest(target: Target) -> None:
    repository = target.repository()
    pushed, stays = target.image(repository, "1.0"), target.image(repository, "2.0")
    assert delete(target, repository, pushed.digest).status_code == 202
    assert target.status(repository, pushed.digest) == 404
    assert target.get(repository, "2.0").content == stays.content


@pytest.mark.protocol("delete.manifest-takes-tags")
def test_manifest_takes_tags(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    target.put(repository, "1.1", pushed.content)
    target.image(repository, "2.0")
    assert delete(target, repository, pushed.digest).status_code == 202
    assert target.status(repository, "1.0") == target.status(repository, "1.1") == 404
    assert target.tags(repository) == ["2.0"]


@pytest.mark.protocol("delete.blob")
def test_blob(target: Target) -> None:
    repository = target.repository()
    digest, stays = target.blob(repository, noise()), target.blob(repository, noise())
    assert delete(target, repository, f"blobs/{digest}").status_code == 202
    assert target.blob_status(repository, digest) == 404
    assert target.blob_status(repository, stays) == 200


@pytest.mark.protocol("delete.unknown-tag")
def test_unknown_tag(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    refused(delete(target, repository, "2.0"), 404, "MANIFEST_UNKNOWN")
    delete(target, repository, "1.0")
    refused(delete(target, repository, "1.0"), 404, "MANIFEST_UNKNOWN")


@pytest.mark.protocol("delete.unknown-manifest")
def test_unknown_manifest(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    refused(delete(target, repository, NOWHERE), 404, "MANIFEST_UNKNOWN")
    delete(target, repository, pushed.digest)
    refused(delete(target, repository, pushed.digest), 404, "MANIFEST_UNKNOWN")


@pytest.mark.protocol("delete.unknown-blob")
def test_unknown_blob(target: Target) -> None:
    repository = target.repository()
    digest = target.blob(repository, noise())
    refused(delete(target, repository, f"blobs/{NOWHERE}"), 404, "BLOB_UNKNOWN")
    delete(target, repository, f"blobs/{digest}")
    refused(delete(target, repository, f"blobs/{digest}"), 404, "BLOB_UNKNOWN")


@pytest.mark.protocol("delete.other-repository")
def test_other_repository(target: Target) -> None:
    mine, theirs, layer = target.repository(), target.repository(), noise()
    pushed = [target.image(each, "1.0", (layer,)) for each in (mine, theirs)]
    assert delete(target, mine, pushed[0].digest).status_code == 202
    assert delete(target, mine, f"blobs/{digest_of(layer)}").status_code == 202
    assert target.get(theirs, "1.0").content == pushed[1].content
    assert target.blob_bytes(theirs, digest_of(layer)) == layer
    assert target.status(mine, "1.0") == target.blob_status(mine, digest_of(layer)) == 404


@pytest.mark.protocol("delete.needs-blob-again")
def test_needs_blob_again(target: Target) -> None:
    repository, layer = target.repository(), noise()
    pushed = target.image(repository, "1.0", (layer,))
    for reference in (pushed.digest, f"blobs/{digest_of(layer)}"):
        assert delete(target, repository, reference).status_code == 202
    answer = target.put(repository, "1.0", pushed.content)
    refused(answer, (400, 404), "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")
    assert target.status(repository, "1.0") == 404
    target.blob(repository, layer)
    assert target.put(repository, "1.0", pushed.content).status_code == 201


@pytest.mark.protocol("delete.push-again")
def test_push_again(target: Target) -> None:
    repository, layer = target.repository(), noise()
    pushed = target.image(repository, "1.0", (layer,))
    for reference in ("1.0", pushed.digest, f"blobs/{digest_of(layer)}"):
        assert delete(target, repository, reference).status_code == 202
    assert target.image(repository, "1.0", (layer,)).content == pushed.content
    assert target.get(repository, "1.0").content == pushed.content
    assert target.blob_bytes(repository, digest_of(layer)) == layer


@pytest.mark.protocol("delete.forbidden")
def test_forbidden(target: Target, reader: httpx.Client, pusher: httpx.Client, nobody: httpx.Client) -> None:
    repository, layer = target.repository(), noise()
    pushed = target.image(repository, "1.0", (layer,))
    for http, status, code in ((reader, 403, "DENIED"), (pusher, 403, "DENIED"), (nobody, 401, "UNAUTHORIZED")):
        for reference in ("1.0", pushed.digest, f"blobs/{digest_of(layer)}", "none", NOWHERE):
            refused(delete(target, repository, reference, http), status, code)
    assert target.get(repository, "1.0").content == pushed.content
    assert target.tags(repository) == ["1.0"]
    assert target.blob_bytes(repository, digest_of(layer)) == layer
