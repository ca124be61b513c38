"""Blobs of one repository that become another's without being sent."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.protocol.target import Target, digest_of, image, noise, refused


def mount(http: httpx.Client, repository: str, digest: str, source: str | None) -> httpx.Response:
    query = {"mount": digest, **({"from": source} if source else {})}
    return http.post(f"/v2/{repository}/blobs/uploads/", params=query, headers={"content-length": "0"})


@pytest.mark.protocol("mount.created")
def test_created(target: Target) -> None:
    source, repository, content = target.repository(), target.repository(), noise()
    digest = target.blob(source, content)
    answer = mount(target.http, repository, digest, source)
    assert (answer.status_code, answer.content) == (201, b"")
    location = target.at(answer.headers["location"])
    assert f"/v2/{repository}/" in location
    assert target.http.get(location).content == content == target.blob_bytes(repository, digest)
    assert target.blob_status(source, digest) == 200


@pytest.mark.protocol("mount.digest-header")
def test_digest_header(target: Target) -> None:
    source, content = target.repository(), noise()
    digest = target.blob(source, content)
    answer = mount(target.http, target.repository(), digest, source)
    assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest)


@pytest.mark.protocol("mount.missing")
def test_missing(target: Target) -> None:
    source, content = target.repository(), noise()
    target.image(source, "1.0")
    for wanted_from in (source, target.repository()):
        repository = target.repository()
        answer = mount(target.http, repository, digest_of(content), wanted_from)
        assert answer.status_code == 202
        assert target.blob_status(repository, digest_of(content)) == 404
        assert target.finish(target.at(answer.headers["location"]), digest_of(content), content).status_code == 201
        assert target.blob_bytes(repository, digest_of(content)) == content


def _hidden(target: Target) -> tuple[str, str]:
    """A repository that reader may not pull, and a blob of it."""
    source = target.repository("hidden")
    return source, target.blob(source, noise())


@pytest.mark.protocol("mount.forbidden")
def test_forbidden(target: Target, reader: httpx.Client) -> None:
    source, digest = _hidden(target)
    repository = target.repository("protocol/pushed")
    answer = mount(reader, repository, digest, source)
    assert answer.status_code == 202
    assert reader.get(f"/v2/{repository}/blobs/{digest}").status_code == 404
    assert reader.get(f"/v2/{source}/blobs/{digest}").status_code == 404
    # Nor can an image be built on it, which would let its puller read the blob.
    theirs = {"mediaType": "application/octet-stream", "digest": digest, "size": 64}
    sent = image(config=b"{}", layers=[theirs])
    Target(target.url, reader).blob(repository, b"{}")
    refused(Target(target.url, reader).put(repository, "1.0", sent), (400, 404), "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.protocol("mount.alike")
def test_alike(target: Target, reader: httpx.Client) -> None:
    source, digest = _hidden(target)
    shown = target.repository()
    target.image(shown, "1.0")
    absent = digest_of(b"nowhere")
    answers = [
        mount(reader, "protocol/pushed/x", each, of)
        for each, of in (
            *((digest, source), (absent, source), (digest, "hidden/none"), (digest, shown), (digest, "protocol/none")),
            *((digest, None), (absent, None)),
        )
    ]

    def shape(answer: httpx.Response) -> tuple[object, ...]:
        headers = {name: re.sub(r"[0-9a-f]{32}|\d\d:\d\d:\d\d", "-", value) for name, value in answer.headers.items()}
        return answer.status_code, answer.content, headers

    assert shape(answers[0])[0] == 202
    assert [shape(each) for each in answers] == [shape(answers[0])] * len(answers)


@pytest.mark.protocol("mount.anonymous")
def test_anonymous(target: Target) -> None:
    source, repository, content = target.repository(), target.repository(), noise()
    digest = target.blob(source, content)
    answer = mount(target.http, repository, digest, None)
    assert answer.status_code == 201
    assert answer.headers["docker-content-digest"] == digest
    assert target.http.get(target.at(answer.headers["location"])).content == content
    missing = mount(target.http, repository, digest_of(b"nowhere"), None)
    assert missing.status_code == 202
    assert missing.headers["location"]


@pytest.mark.protocol("mount.outlives-source")
def test_outlives_source(target: Target) -> None:
    source, repository, content = target.repository(), target.repository(), noise()
    digest = target.blob(source, content)
    assert mount(target.http, repository, digest, source).status_code == 201
    assert target.http.delete(f"/v2/{source}/blobs/{digest}").status_code == 202
    assert target.blob_status(source, digest) == 404
    assert target.blob_bytes(repository, digest) == content


@pytest.mark.protocol("mount.bad-digest")
def test_bad_digest(target: Target) -> None:
    source = target.repository()
    target.image(source, "1.0")
    for digest in ("sha256:abc", "x", f"md5:{'a' * 32}"):
        answer = mount(target.http, target.repository(), digest, source)
        refused(answer, 400, "DIGEST_INVALID")
        assert "location" not in answer.headers
