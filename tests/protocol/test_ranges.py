"""Parts of a blob (RFC 9110 section 14)."""

from __future__ import annotations

import httpx
import pytest

from tests.protocol.target import Target, digest_of, noise, refused

CONTENT = noise(1000)


def part(target: Target, spans: str, content: bytes = CONTENT, **headers: str) -> httpx.Response:
    repository = target.repository()
    digest = target.blob(repository, content)
    return target.http.get(f"/v2/{repository}/blobs/{digest}", headers={"range": spans, **headers})


def is_part(answer: httpx.Response, first: int, last: int, content: bytes = CONTENT) -> None:
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.content == content[first : last + 1]


@pytest.mark.protocol("pull.accept-ranges")
def test_accept_ranges(target: Target) -> None:
    repository = target.repository()
    for content in (CONTENT, noise(400_000)):
        url = f"/v2/{repository}/blobs/{target.blob(repository, content)}"
        for method in ("GET", "HEAD"):
            assert target.http.request(method, url).headers["accept-ranges"] == "bytes"


@pytest.mark.protocol("pull.range-middle")
def test_middle(target: Target) -> None:
    is_part(part(target, "bytes=10-19"), 10, 19)
    is_part(part(target, "bytes=0-0"), 0, 0)
    is_part(part(target, "bytes=999-999"), 999, 999)
    large = noise(900_000)
    is_part(part(target, "bytes=1-800000", large), 1, 800_000, large)


@pytest.mark.protocol("pull.range-open")
def test_open(target: Target) -> None:
    is_part(part(target, "bytes=990-"), 990, 999)
    is_part(part(target, "bytes=0-"), 0, 999)


@pytest.mark.protocol("pull.range-suffix")
def test_suffix(target: Target) -> None:
    is_part(part(target, "bytes=-1"), 999, 999)
    is_part(part(target, "bytes=-600"), 400, 999)


@pytest.mark.protocol("pull.range-clamped")
def test_clamped(target: Target) -> None:
    is_part(part(target, "bytes=990-5000"), 990, 999)
    is_part(part(target, "bytes=-5000"), 0, 999)


@pytest.mark.protocol("pull.range-past-end")
def test_past_end(target: Target) -> None:
    for spans in ("bytes=1000-", "bytes=1000-2000", "bytes=99999-"):
        answer = part(target, spans)
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */1000")
        assert CONTENT[:20] not in answer.content


@pytest.mark.protocol("pull.range-reversed")
def test_reversed(target: Target) -> None:
    answer = part(target, "bytes=20-10")
    refused(answer, 416)
    assert answer.headers["content-range"] == "bytes */1000"


@pytest.mark.attack("A-many-ranges")
@pytest.mark.protocol("pull.range-many")
def test_many(target: Target) -> None:
    for spans in (
        ",".join("0-" for _ in range(500)),
        ",".join(f"{each}-{each}" for each in range(0, 900, 2)),
        ",".join(f"-{each}" for each in range(1, 400)),
    ):
        answer = part(target, f"bytes={spans}")
        assert answer.status_code in (200, 206, 416)
        assert len(answer.content) <= len(CONTENT) or answer.status_code == 416


@pytest.mark.protocol("pull.range-other-unit")
def test_other_unit(target: Target) -> None:
    for spans in ("lines=1-2", "bytes", "bytes=a-b", "bytes=1", "bytes=--1"):
        answer = part(target, spans)
        assert (answer.status_code, answer.content) == (200, CONTENT), spans


@pytest.mark.protocol("pull.range-sha512")
def test_sha512(target: Target) -> None:
    repository, digest = target.repository(), digest_of(CONTENT, "sha512")
    location = target.start(repository, **{"digest-algorithm": "sha512"})
    assert target.finish(location, digest, CONTENT).status_code == 201
    is_part(target.http.get(f"/v2/{repository}/blobs/{digest}", headers={"range": "bytes=5-9"}), 5, 9)


@pytest.mark.protocol("pull.if-range")
def test_if_range(target: Target) -> None:
    digest = digest_of(CONTENT)
    is_part(part(target, "bytes=10-19", **{"if-range": f'"{digest}"'}), 10, 19)
    whole = part(target, "bytes=10-19", **{"if-range": '"another"'})
    assert (whole.status_code, whole.content) == (200, CONTENT)
