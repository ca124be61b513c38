"""Reading manifests and blobs."""

from __future__ import annotations

import pytest

from tests.protocol.target import (
    CODES,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Pushed,
    Target,
    digest_of,
    image,
    index,
    noise,
    refused,
)

NOWHERE = digest_of(b"nowhere")


@pytest.mark.protocol("pull.by-tag")
def test_by_tag(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0", annotations={"x": " é \\u00e9 "})
    answer = target.get(repository, "1.0")
    assert (answer.status_code, answer.content) == (200, pushed.content)


@pytest.mark.protocol("pull.by-digest")
def test_by_digest(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    answer = target.get(repository, pushed.digest)
    assert (answer.status_code, answer.content) == (200, pushed.content)
    encoded = target.get(repository, pushed.digest.replace(":", "%3A"))
    assert (encoded.status_code, encoded.content) == (200, pushed.content)


@pytest.mark.protocol("pull.content-type")
def test_content_type(target: Target) -> None:
    repository = target.repository()
    child = target.image(repository, "oci")
    listed = [child.descriptor()]
    for media_type, content in (
        (OCI_MANIFEST, child.content),
        (OCI_INDEX, index(child)),
        (DOCKER_MANIFEST, image(config=b"{}", mediaType=DOCKER_MANIFEST)),
        (DOCKER_LIST, index(mediaType=DOCKER_LIST, manifests=listed)),
    ):
        pushed = target.pushed(repository, "typed", content, media_type)
        for reference in ("typed", pushed.digest):
            answer = target.get(repository, reference, accept=media_type)
            assert (answer.headers["content-type"], answer.content) == (media_type, content)
            url = f"/v2/{repository}/manifests/{reference}"
            assert target.http.head(url, headers={"accept": media_type}).headers["content-type"] == media_type


def _three(target: Target, repository: str) -> tuple[Pushed, list[tuple[str, bytes]]]:
    """URLs of a manifest by tag and digest, and of a blob, with their bytes."""
    layer = noise()
    pushed = target.image(repository, "1.0", (layer,))
    manifests = [(f"/v2/{repository}/manifests/{each}", pushed.content) for each in ("1.0", pushed.digest)]
    return pushed, [*manifests, (f"/v2/{repository}/blobs/{digest_of(layer)}", layer)]


@pytest.mark.protocol("pull.digest-header")
def test_digest_header(target: Target) -> None:
    for url, content in _three(target, target.repository())[1]:
        answer = target.http.get(url)
        assert answer.status_code == 200
        assert answer.headers["docker-content-digest"] == digest_of(content) == digest_of(answer.content)


@pytest.mark.protocol("pull.head-digest")
def test_head_digest(target: Target) -> None:
    for url, content in _three(target, target.repository())[1]:
        answer = target.http.head(url)
        assert (answer.status_code, answer.headers["docker-content-digest"]) == (200, digest_of(content))


@pytest.mark.protocol("pull.head-length")
def test_head_length(target: Target) -> None:
    for url, content in _three(target, target.repository())[1]:
        answer = target.http.head(url)
        assert (answer.headers["content-length"], answer.content) == (str(len(content)), b"")


@pytest.mark.protocol("pull.blob")
def test_blob(target: Target) -> None:
    repository = target.repository()
    for content in (b"x", noise(1000), noise(300 * 1024), noise(3 * 1024 * 1024 + 1)):
        digest = target.blob(repository, content)
        answer = target.http.get(f"/v2/{repository}/blobs/{digest}")
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(content)))
        assert answer.content == content


@pytest.mark.protocol("pull.accept")
def test_accept(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    for accept in (OCI_MANIFEST, "*/*", f"{OCI_INDEX}, {DOCKER_MANIFEST};q=0.5, {OCI_MANIFEST}", "application/json"):
        answer = target.get(repository, "1.0", accept=accept)
        assert (answer.status_code, answer.content) == (200, pushed.content)
        assert answer.headers["content-type"] == OCI_MANIFEST


@pytest.mark.protocol("pull.unknown-tag")
def test_unknown_tag(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    assert target.status(repository, "2.0") == 404
    refused(target.get(repository, "2.0"), 404, "MANIFEST_UNKNOWN")


@pytest.mark.protocol("pull.unknown-digest")
def test_unknown_digest(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for digest in (NOWHERE, digest_of(b"nowhere", "sha512")):
        assert target.status(repository, digest) == 404
        refused(target.get(repository, digest), 404, "MANIFEST_UNKNOWN")


@pytest.mark.protocol("pull.unknown-blob")
def test_unknown_blob(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for digest in (NOWHERE, digest_of(b"nowhere", "sha512")):
        assert target.blob_status(repository, digest) == 404
        refused(target.http.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")


@pytest.mark.protocol("pull.unknown-repository")
def test_unknown_repository(target: Target) -> None:
    repository = target.repository()
    assert target.status(repository, "1.0") == target.blob_status(repository, NOWHERE) == 404
    for url in (f"/v2/{repository}/manifests/1.0", f"/v2/{repository}/blobs/{NOWHERE}"):
        assert refused(target.http.get(url), 404) in CODES


@pytest.mark.protocol("pull.others-blob")
def test_others_blob(target: Target) -> None:
    mine, theirs = target.repository(), target.repository()
    target.image(mine, "1.0")
    digest = target.blob(theirs, noise())
    assert target.blob_status(theirs, digest) == 200
    assert target.blob_status(mine, digest) == 404
    refused(target.http.get(f"/v2/{mine}/blobs/{digest}"), 404, "BLOB_UNKNOWN")


@pytest.mark.protocol("pull.others-manifest")
def test_others_manifest(target: Target) -> None:
    mine, theirs = target.repository(), target.repository()
    target.image(mine, "1.0")
    pushed = target.image(theirs, "theirs")
    assert target.status(mine, pushed.digest) == target.status(mine, "theirs") == 404
    refused(target.get(mine, pushed.digest), 404, "MANIFEST_UNKNOWN")


@pytest.mark.protocol("pull.not-modified")
def test_not_modified(target: Target) -> None:
    for url, content in _three(target, target.repository())[1]:
        tag = target.http.get(url).headers["etag"]
        for method in ("GET", "HEAD"):
            same = target.http.request(method, url, headers={"if-none-match": tag})
            assert (same.status_code, same.content) == (304, b""), (method, url)
            other = target.http.request(method, url, headers={"if-none-match": '"another"'})
            assert (other.status_code, other.content) == (200, content if method == "GET" else b"")
