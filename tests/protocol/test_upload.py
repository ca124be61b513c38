"""Blobs on their way in: one request, two, or chunks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.protocol.target import OCTETS, Target, digest_of, noise, refused, with_query

CONTENT = noise(3000)


def pulled(target: Target, answer: httpx.Response, content: bytes) -> None:
    """A 201 whose Location gives the blob."""
    assert answer.status_code == 201, answer.text
    got = target.http.get(target.at(answer.headers["location"]), follow_redirects=True)
    assert (got.status_code, got.content) == (200, content)


def offset(target: Target, location: str) -> int:
    """The bytes that a session has, from its Range (0-0 also means none: RFC 9110 has no empty range)."""
    answer = target.http.get(location)
    assert answer.status_code == 204, answer.text
    found = re.fullmatch(r"0-(\d+)", answer.headers["range"])
    assert found is not None, answer.headers["range"]
    return int(found[1]) + 1 if int(found[1]) else 0


@pytest.mark.protocol("upload.start")
def test_start(target: Target) -> None:
    answer = target.http.post(f"/v2/{target.repository()}/blobs/uploads/", headers={"content-length": "0"})
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["location"]
    assert target.http.delete(target.at(answer.headers["location"])).status_code in (202, 204)


@pytest.mark.protocol("upload.unique")
def test_unique(target: Target) -> None:
    repository = target.repository()
    locations = {httpx.URL(target.start(repository)).path for _ in range(5)}
    assert len(locations) == 5


@pytest.mark.protocol("upload.post-put")
def test_post_put(target: Target) -> None:
    repository, content = target.repository(), noise()
    pulled(target, target.finish(target.start(repository), digest_of(content), content), content)
    assert target.blob_bytes(repository, digest_of(content)) == content


@pytest.mark.protocol("upload.single-post")
def test_single_post(target: Target) -> None:
    repository, content = target.repository(), noise()
    url = f"/v2/{repository}/blobs/uploads/"
    pulled(
        target, target.http.post(url, params={"digest": digest_of(content)}, content=content, headers=OCTETS), content
    )
    assert target.blob_bytes(repository, digest_of(content)) == content


@pytest.mark.protocol("upload.digest-header")
def test_digest_header(target: Target) -> None:
    repository, content = target.repository(), noise()
    answer = target.finish(target.start(repository), digest_of(content), content)
    assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, digest_of(content))


@pytest.mark.protocol("upload.wrong-digest")
def test_wrong_digest(target: Target) -> None:
    repository, wanted, sent = target.repository(), noise(), noise()
    refused(target.finish(target.start(repository), digest_of(wanted), sent), 400, "DIGEST_INVALID")
    for content in (wanted, sent):
        assert target.blob_status(repository, digest_of(content)) == 404


@pytest.mark.protocol("upload.wrong-digest-single")
def test_wrong_digest_single(target: Target) -> None:
    repository, wanted, sent = target.repository(), noise(), noise()
    url = f"/v2/{repository}/blobs/uploads/"
    answer = target.http.post(url, params={"digest": digest_of(wanted)}, content=sent, headers=OCTETS)
    if answer.status_code == 202:
        pytest.skip("this registry takes no single POST")
    refused(answer, 400, "DIGEST_INVALID")
    for content in (wanted, sent):
        assert target.blob_status(repository, digest_of(content)) == 404


@pytest.mark.protocol("upload.no-digest")
def test_no_digest(target: Target) -> None:
    repository, content = target.repository(), noise()
    location = target.start(repository)
    refused(target.http.put(location, content=b""), 400)
    pulled(target, target.finish(location, digest_of(content), content), content)


@pytest.mark.protocol("upload.bad-digest")
def test_bad_digest(target: Target) -> None:
    repository = target.repository()
    for digest in ("sha256:abc", "x", f"md5:{'a' * 32}", f"sha256:{'G' * 64}"):
        refused(target.finish(target.start(repository), digest, b"x"), 400, "DIGEST_INVALID")
    assert target.http.get(f"/v2/{repository}/tags/list").status_code in (200, 404)


@pytest.mark.protocol("upload.length-mismatch")
def test_length_mismatch(target: Target) -> None:
    repository = target.repository()
    location = target.at(target.patch(target.start(repository), CONTENT[:100], 0).headers["location"])
    for span in ("100-299", "100-149"):
        answer = target.http.patch(location, content=CONTENT[100:200], headers={**OCTETS, "content-range": span})
        refused(answer, (400, 416), "SIZE_INVALID")
        assert offset(target, location) == 100


@pytest.mark.protocol("upload.empty")
def test_empty(target: Target) -> None:
    repository, digest = target.repository(), digest_of(b"")
    answer = target.finish(target.start(repository), digest)
    assert answer.status_code == 201
    assert target.http.head(f"/v2/{repository}/blobs/{digest}").headers["content-length"] == "0"
    assert target.blob_bytes(repository, digest) == b""


@pytest.mark.protocol("upload.sha512")
def test_sha512(target: Target) -> None:
    repository, digest = target.repository(), digest_of(CONTENT, "sha512")
    location = target.start(repository, **{"digest-algorithm": "sha512"})
    location = target.at(target.patch(location, CONTENT[:1500], 0).headers["location"])
    location = target.at(target.patch(location, CONTENT[1500:], 1500).headers["location"])
    answer = target.finish(location, digest)
    pulled(target, answer, CONTENT)
    assert answer.headers["docker-content-digest"] == digest
    assert target.blob_status(repository, digest) == 200
    assert target.http.head(f"/v2/{repository}/blobs/{digest}").headers["docker-content-digest"] == digest


@pytest.mark.protocol("upload.unknown-algorithm")
def test_unknown_algorithm(target: Target) -> None:
    url = f"/v2/{target.repository()}/blobs/uploads/"
    answer = target.http.post(url, params={"digest-algorithm": "crc32"})
    refused(answer, 400, "DIGEST_INVALID")
    assert "location" not in answer.headers


@pytest.mark.protocol("upload.patch")
def test_patch(target: Target) -> None:
    location, at = target.start(target.repository()), 0
    for size in (1000, 1, 999):
        answer = target.patch(location, CONTENT[at : at + size], at)
        at += size
        assert (answer.status_code, answer.content) == (202, b"")
        assert answer.headers["range"] == f"0-{at - 1}"
        location = target.at(answer.headers["location"])


@pytest.mark.protocol("upload.chunks")
def test_chunks(target: Target) -> None:
    repository, content = target.repository(), noise(600_000)
    location = target.start(repository)
    for at in range(0, len(content), 250_000):
        answer = target.patch(location, content[at : at + 250_000], at)
        location = target.at(answer.headers["location"])
    pulled(target, target.finish(location, digest_of(content)), content)


def _pieces(content: bytes) -> Iterator[bytes]:
    yield from (content[at : at + 700] for at in range(0, len(content), 700))


@pytest.mark.protocol("upload.stream")
def test_stream(target: Target) -> None:
    repository = target.repository()
    answer = target.http.patch(target.start(repository), content=_pieces(CONTENT), headers=OCTETS)
    assert (answer.status_code, answer.headers["range"]) == (202, f"0-{len(CONTENT) - 1}")
    pulled(target, target.finish(target.at(answer.headers["location"]), digest_of(CONTENT)), CONTENT)


@pytest.mark.protocol("upload.last-in-put")
def test_last_in_put(target: Target) -> None:
    repository = target.repository()
    for headers in ({}, {"content-range": "2000-2999"}):
        location = target.at(target.patch(target.start(repository), CONTENT[:2000], 0).headers["location"])
        pulled(target, target.finish(location, digest_of(CONTENT), CONTENT[2000:], **headers), CONTENT)


@pytest.mark.protocol("upload.out-of-order")
def test_out_of_order(target: Target) -> None:
    location = target.at(target.patch(target.start(target.repository()), CONTENT[:1000], 0).headers["location"])
    for start in (0, 999, 1001, 2000):
        answer = target.patch(location, CONTENT[start : start + 10], start)
        assert answer.status_code == 416, (start, answer.text)
    assert target.patch(target.start(target.repository()), CONTENT[1:10], 1).status_code == 416


@pytest.mark.protocol("upload.unchanged-after-416")
def test_unchanged_after_416(target: Target) -> None:
    repository = target.repository()
    location = target.at(target.patch(target.start(repository), CONTENT[:1000], 0).headers["location"])
    assert target.patch(location, noise(1500), 1001).status_code == 416
    wrong_end = target.finish(location, digest_of(CONTENT), CONTENT[1001:], **{"content-range": "1001-2999"})
    assert wrong_end.status_code == 416
    assert offset(target, location) == 1000
    location = target.at(target.patch(location, CONTENT[1000:], 1000).headers["location"])
    pulled(target, target.finish(location, digest_of(CONTENT)), CONTENT)


@pytest.mark.protocol("upload.status")
def test_status(target: Target) -> None:
    location = target.start(target.repository())
    fresh = target.http.get(location)
    assert (fresh.status_code, fresh.content) == (204, b"")
    assert fresh.headers["location"]
    assert fresh.headers["range"] == "0-0"
    location = target.at(target.patch(location, CONTENT[:1234], 0).headers["location"])
    later = target.http.get(location)
    assert (later.status_code, later.headers["range"]) == (204, "0-1233")
    again = target.http.get(target.at(later.headers["location"]))
    assert (again.status_code, again.headers["range"]) == (204, "0-1233")


@pytest.mark.protocol("upload.put-chunked")
def test_put_chunked(target: Target) -> None:
    repository = target.repository()
    location = with_query(target.start(repository), digest=digest_of(CONTENT))
    pulled(target, target.http.put(location, content=_pieces(CONTENT), headers=OCTETS), CONTENT)


@pytest.mark.protocol("upload.min-chunk")
def test_min_chunk(target: Target) -> None:
    repository = target.repository()
    answer = target.http.post(f"/v2/{repository}/blobs/uploads/", headers={"content-length": "0"})
    least = answer.headers.get("oci-chunk-min-length", "1000")
    assert re.fullmatch(r"[1-9]\d*", least)
    size = min(int(least), 64 * 1024 * 1024)
    content = noise(2 * size + size // 2)
    location = target.at(answer.headers["location"])
    for at in range(0, len(content), size):
        answer = target.patch(location, content[at : at + size], at)
        assert answer.status_code == 202
        location = target.at(answer.headers["location"])
    pulled(target, target.finish(location, digest_of(content)), content)


@pytest.mark.protocol("upload.twice-at-once")
def test_twice_at_once(target: Target) -> None:
    repository, content = target.repository(), noise(2_000_000)
    digest, both = digest_of(content), threading.Barrier(2)
    found: list[httpx.Response] = []

    def slowly() -> Iterator[bytes]:
        yield content[:1_000_000]
        both.wait(20)  # neither ends before the other has begun
        yield content[1_000_000:]

    def push() -> None:
        location = with_query(target.start(repository), digest=digest)
        found.append(target.http.put(location, content=slowly(), headers=OCTETS))

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [each.status_code for each in found] == [201, 201]
    assert target.blob_bytes(repository, digest) == content


@pytest.mark.protocol("upload.again")
def test_again(target: Target) -> None:
    repository, content = target.repository(), noise()
    for _ in range(2):
        pulled(target, target.finish(target.start(repository), digest_of(content), content), content)
