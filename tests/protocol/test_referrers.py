"""What refers to a subject: signatures, SBOMs, attestations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocol.target import (
    CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Pushed,
    Target,
    descriptor,
    digest_of,
    image,
    index,
    next_link,
    noise,
    refused,
)

NOWHERE = digest_of(b"nowhere")


def attach(target: Target, repository: str, subject: dict[str, Any], **fields: Any) -> Pushed:
    """Another manifest each time, which refers to the subject."""
    target.blob(repository, b"{}")
    marked = {"annotations": {"n": noise(8).hex()}, **fields}
    return target.pushed(repository, "", image(subject=subject, **marked))


def digests(found: list[dict[str, Any]]) -> set[str]:
    names = [str(each["digest"]) for each in found]
    assert len(names) == len(set(names))
    return set(names)


@pytest.mark.protocol("referrers.subject-header")
def test_subject_header(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    content = image(subject=subject.descriptor())
    for reference in ("signature", digest_of(content)):
        answer = target.put(repository, reference, content)
        assert (answer.status_code, answer.headers["oci-subject"]) == (201, subject.digest)
    assert "oci-subject" not in target.put(repository, "1.0", subject.content).headers


@pytest.mark.protocol("referrers.missing-subject")
def test_missing_subject(target: Target) -> None:
    repository = target.repository()
    subject = descriptor(noise(), OCI_MANIFEST)
    pushed = attach(target, repository, subject)
    assert target.get(repository, pushed.digest).content == pushed.content
    assert target.status(repository, subject["digest"]) == 404
    assert digests(target.referrers(repository, subject["digest"])) == {pushed.digest}


@pytest.mark.protocol("referrers.list")
def test_list(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    pushed = [attach(target, repository, subject.descriptor()) for _ in range(3)]
    found = target.referrers(repository, subject.digest)
    assert digests(found) == {each.digest for each in pushed}
    for each in found:
        (same,) = (one for one in pushed if one.digest == each["digest"])
        assert (each["mediaType"], each["size"]) == (OCI_MANIFEST, len(same.content))


@pytest.mark.protocol("referrers.unknown")
def test_unknown(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    for digest in (NOWHERE, pushed.digest):
        assert target.referrers(repository, digest) == []


@pytest.mark.protocol("referrers.bad-digest")
def test_bad_digest(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for digest in ("latest", "sha256:abc", f"md5:{'a' * 32}"):
        refused(target.http.get(f"/v2/{repository}/referrers/{digest}"), 400, "DIGEST_INVALID")


@pytest.mark.protocol("referrers.artifact-type")
def test_artifact_type(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    attach(target, repository, subject.descriptor(), artifactType="application/vnd.example.sbom")
    (found,) = target.referrers(repository, subject.digest)
    assert found["artifactType"] == "application/vnd.example.sbom"


@pytest.mark.protocol("referrers.config-type")
def test_config_type(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    attach(target, repository, subject.descriptor(), config=descriptor(b"{}", "application/vnd.example.config"))
    (found,) = target.referrers(repository, subject.digest)
    assert found["artifactType"] == "application/vnd.example.config"


@pytest.mark.protocol("referrers.annotations")
def test_annotations(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    said = {"org.example/who": "ci", "text": 'é "quoted"\n<b>', "empty": ""}
    attach(target, repository, subject.descriptor(), annotations=said)
    (found,) = target.referrers(repository, subject.digest)
    assert found["annotations"] == said


@pytest.mark.protocol("referrers.index")
def test_index(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    content = index(target.image(repository), subject=subject.descriptor(), artifactType="application/vnd.example.list")
    answer = target.put(repository, digest_of(content), content, OCI_INDEX)
    assert (answer.status_code, answer.headers["oci-subject"]) == (201, subject.digest)
    (found,) = target.referrers(repository, subject.digest)
    assert (found["mediaType"], found["digest"], found["size"]) == (OCI_INDEX, digest_of(content), len(content))
    assert found["artifactType"] == "application/vnd.example.list"


@pytest.mark.protocol("referrers.filter")
def test_filter(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    kinds = ("application/vnd.example.a+json", "application/vnd.example.b")
    pushed = {kind: attach(target, repository, subject.descriptor(), artifactType=kind) for kind in kinds}
    plain = attach(target, repository, subject.descriptor())
    for kind, each in pushed.items():
        assert digests(target.referrers(repository, subject.digest, artifactType=kind)) == {each.digest}
    assert digests(target.referrers(repository, subject.digest, artifactType=CONFIG)) == {plain.digest}
    assert target.referrers(repository, subject.digest, artifactType="application/vnd.none") == []
    assert len(target.referrers(repository, subject.digest)) == 3


@pytest.mark.protocol("referrers.filter-header")
def test_filter_header(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    attach(target, repository, subject.descriptor(), artifactType="application/vnd.example")
    url = f"/v2/{repository}/referrers/{subject.digest}"
    for kind in ("application/vnd.example", "application/vnd.none"):
        assert target.http.get(url, params={"artifactType": kind}).headers["oci-filters-applied"] == "artifactType"
    assert "oci-filters-applied" not in target.http.get(url).headers


@pytest.mark.protocol("referrers.sha512")
def test_sha512(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    named = {**subject.descriptor(), "digest": digest_of(subject.content, "sha512")}
    pushed = attach(target, repository, named)
    assert digests(target.referrers(repository, named["digest"])) == {pushed.digest}
    assert target.referrers(repository, subject.digest) == []


@pytest.mark.protocol("referrers.per-repository")
def test_per_repository(target: Target) -> None:
    repository, other = target.repository(), target.repository()
    subject = target.image(repository, "1.0", (b"shared",))
    target.image(other, "1.0", (b"shared",))
    theirs = attach(target, other, subject.descriptor())
    mine = attach(target, repository, subject.descriptor())
    assert digests(target.referrers(repository, subject.digest)) == {mine.digest}
    assert digests(target.referrers(other, subject.digest)) == {theirs.digest}


@pytest.mark.slow
@pytest.mark.protocol("referrers.paging")
def test_paging(target: Target) -> None:
    """More than a thousand: more than a page of any registry that has pages."""
    repository = target.repository()
    subject = target.image(repository, "1.0")
    fields = {"config": descriptor(b"{}", CONFIG), "subject": subject.descriptor(), "artifactType": "application/x"}
    pushed = {
        target.pushed(repository, "", image(**fields, annotations={"n": str(each)})).digest for each in range(1010)
    }
    for query in ("", "?artifactType=application/x"):
        url: str | None = f"/v2/{repository}/referrers/{subject.digest}{query}"
        found: list[dict[str, Any]] = []
        while url is not None:
            answer = target.http.get(url)
            assert answer.status_code == 200
            assert len(answer.content) <= 4 * 1024 * 1024
            assert (answer.headers.get("oci-filters-applied") == "artifactType") is bool(query)
            found += answer.json()["manifests"]
            url = next_link(answer)
        assert digests(found) == pushed


@pytest.mark.protocol("referrers.deleted")
def test_deleted(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    gone, stays = (attach(target, repository, subject.descriptor()) for _ in range(2))
    assert target.http.delete(f"/v2/{repository}/manifests/{gone.digest}").status_code == 202
    assert digests(target.referrers(repository, subject.digest)) == {stays.digest}


@pytest.mark.protocol("referrers.subject-deleted")
def test_subject_deleted(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    pushed = attach(target, repository, subject.descriptor())
    assert target.http.delete(f"/v2/{repository}/manifests/{subject.digest}").status_code == 202
    assert digests(target.referrers(repository, subject.digest)) == {pushed.digest}
    assert target.get(repository, pushed.digest).content == pushed.content


@pytest.mark.protocol("referrers.fallback-tag")
def test_fallback_tag(target: Target) -> None:
    repository = target.repository()
    subject = target.image(repository, "1.0")
    pushed = attach(target, repository, subject.descriptor(), artifactType="application/vnd.example")
    tag = subject.digest.replace(":", "-")
    listed = index(manifests=[pushed.descriptor(artifactType="application/vnd.example")])
    assert target.put(repository, tag, listed, OCI_INDEX).status_code == 201
    assert target.get(repository, tag).content == listed
    found = target.referrers(repository, subject.digest)
    assert digests(found) == {pushed.digest}
    assert found[0]["artifactType"] == "application/vnd.example"
