"""What holds for every URL: names, tags, digests, errors, methods."""

from __future__ import annotations

import re
import socket
from typing import Any

import httpx
import pytest

from tests.protocol.conftest import MakeNode
from tests.protocol.target import CODES, OCTETS, Target, digest_of, image, noise, refused, with_query

BAD_NAMES = (
    "Upper/case",
    "-dash",
    "dash-",
    "a//b",
    "a/",
    "_x",
    "a/.b",
    "a__",
    "a___b",
    "a..b",
    "a._b",
    "ümlaut",
    "a b",
)
GOOD_NAMES = ("a", "0", "a.b", "a_b", "a__b", "a-b", "a--b", "a---b", "a/b/c/d/e/f/g/h", "x.y_z/1-2.3")
SHA = digest_of(b"nowhere")


def sweep(repository: str, reference: str = "1.0", digest: str = SHA) -> dict[str, str]:
    """Every kind of URL of one repository."""
    return {
        "tags": f"/v2/{repository}/tags/list",
        "manifest": f"/v2/{repository}/manifests/{reference}",
        "manifest-digest": f"/v2/{repository}/manifests/{digest}",
        "blob": f"/v2/{repository}/blobs/{digest}",
        "referrers": f"/v2/{repository}/referrers/{digest}",
        "uploads": f"/v2/{repository}/blobs/uploads/",
        "upload": f"/v2/{repository}/blobs/uploads/0123456789abcdef0123456789abcdef",
    }


@pytest.mark.protocol("base.signed-in")
def test_signed_in(target: Target) -> None:
    for path in ("/v2/", "/v2"):
        answer = target.http.get(path, follow_redirects=True)
        assert answer.status_code == 200


@pytest.mark.protocol("base.challenge")
def test_challenge(target: Target, nobody: httpx.Client) -> None:
    answer = nobody.get("/v2/")
    if answer.status_code == 200:
        pytest.skip("this registry wants no account")
    refused(answer, 401, "UNAUTHORIZED")
    assert re.match(r"(Bearer|Basic) .*realm=\"[^\"]+\"", answer.headers["www-authenticate"])
    repository = target.repository()
    target.image(repository, "1.0")
    for there in (repository, target.repository()):
        shown = nobody.get(f"/v2/{there}/manifests/1.0")
        refused(shown, 401, "UNAUTHORIZED")
        assert "www-authenticate" in shown.headers
        assert shown.text.replace(there, "-") == nobody.get(f"/v2/{there}x/manifests/1.0").text.replace(
            f"{there}x", "-"
        )


@pytest.mark.protocol("base.version-header")
def test_version_header(target: Target, nobody: httpx.Client) -> None:
    for client in (target.http, nobody):
        answer = client.get("/v2/")
        assert answer.status_code in (200, 401)
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.protocol("base.bad-name")
def test_bad_name(target: Target) -> None:
    for name in BAD_NAMES:
        urls = sweep(name)
        for kind in ("tags", "manifest", "manifest-digest", "blob", "referrers"):
            refused(target.http.get(urls[kind]), 400, "NAME_INVALID")
            assert target.http.head(urls[kind]).status_code == 400
        refused(target.http.post(urls["uploads"]), 400, "NAME_INVALID")
        refused(target.http.delete(urls["manifest-digest"]), 400, "NAME_INVALID")
        refused(target.put(name, "1.0", image()), 400, "NAME_INVALID")


@pytest.mark.protocol("base.name-encoded")
def test_name_encoded(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    parts = repository.partition("/")
    for spelled in (
        repository.replace("/", "%2F"),
        f"{parts[0]}/%2e%2e/{repository}",
        f"%70{repository[1:]}",
        f"{parts[0]}%2f..%2f{repository}",
        f"x/%2E%2e/{repository}",
        f"x/../{repository}",
        f"./{repository}",
    ):
        for path in (f"/v2/{spelled}/manifests/1.0", f"/v2/{spelled}/manifests/{pushed.digest}"):
            answer = target.raw("GET", path)
            refused(answer, 400, "NAME_INVALID")
    assert target.status(repository, "1.0") == 200


@pytest.mark.protocol("base.long-name")
def test_long_name(target: Target) -> None:
    stem = target.repository()
    name = f"{stem}/{'n' * (255 - len(target.host) - 1 - len(stem) - 1)}"
    assert len(f"{target.host}/{name}") == 255
    pushed = target.image(name, "1.0")
    assert target.get(name, "1.0").content == pushed.content
    assert target.tags(name) == ["1.0"]


@pytest.mark.protocol("base.name-too-long")
def test_name_too_long(target: Target) -> None:
    name = "n/" * 127 + "nn"
    assert len(name) == 256
    refused(target.http.get(f"/v2/{name}/tags/list"), 400, "NAME_INVALID")
    refused(target.http.post(f"/v2/{name}/blobs/uploads/"), 400, "NAME_INVALID")


@pytest.mark.protocol("base.name-forms")
def test_name_forms(target: Target) -> None:
    for form in GOOD_NAMES:
        name = f"{target.repository()}/{form}"
        pushed = target.image(name, "1.0")
        assert target.get(name, "1.0").content == pushed.content


@pytest.mark.protocol("base.name-like-endpoint")
def test_name_like_endpoint(target: Target) -> None:
    for words in ("blobs/uploads", "tags/list", "manifests/latest", "referrers", "v2"):
        name = f"{target.repository()}/{words}"
        pushed = target.image(name, "1.0")
        assert target.get(name, "1.0").content == pushed.content
        assert target.tags(name) == ["1.0"]


@pytest.mark.protocol("base.long-tag")
def test_long_tag(target: Target) -> None:
    repository, tag = target.repository(), "t" * 128
    pushed = target.image(repository, tag)
    assert target.get(repository, tag).content == pushed.content
    assert target.tags(repository) == [tag]


@pytest.mark.protocol("base.tag-too-long")
def test_tag_too_long(target: Target) -> None:
    repository, tag = target.repository(), "t" * 129
    pushed = target.image(repository, "1.0")
    assert 400 <= target.put(repository, tag, pushed.content).status_code < 500
    assert target.status(repository, tag) in (400, 404)
    assert target.tags(repository) == ["1.0"]


@pytest.mark.protocol("base.tag-letters")
def test_tag_letters(target: Target) -> None:
    repository = target.repository()
    pushed = {tag: target.image(repository, tag) for tag in ("V1.0-rc_1", "v1.0-rc_1", "_x", "0", "A.b-C__9")}
    assert sorted(target.tags(repository)) == sorted(pushed)
    for tag, each in pushed.items():
        assert target.get(repository, tag).content == each.content


@pytest.mark.protocol("base.bad-tag")
def test_bad_tag(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    for tag in (".x", "-x", "a+b", "a b", "ä", "a@b", "a%00b", "a;b", "a'b"):
        answer = target.put(repository, tag, pushed.content)
        assert 400 <= answer.status_code < 500, (tag, answer.status_code)
        assert target.get(repository, tag).status_code in (400, 404)
    assert target.tags(repository) == ["1.0"]


@pytest.mark.protocol("base.bad-digest")
def test_bad_digest(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for digest in (
        "sha256:abc",
        f"sha256:{'g' * 64}",
        f"sha256:{'A' * 64}",
        f"sha256:{'a' * 63}",
        f"md5:{'a' * 32}",
        f"sha512:{'a' * 64}",
        "sha256:",
        f"sha256:{'a' * 64}:x",
    ):
        for kind in ("blob", "manifest-digest", "referrers"):
            url = sweep(repository, digest=digest)[kind]
            refused(target.http.get(url), 400, "DIGEST_INVALID")
            assert target.http.head(url).status_code == 400
        for kind in ("blob", "manifest-digest"):
            refused(target.http.delete(sweep(repository, digest=digest)[kind]), 400, "DIGEST_INVALID")


def _usual_refusals(target: Target) -> list[httpx.Response]:
    repository, http = target.repository(), target.http
    pushed = target.image(repository, "1.0")
    missing = image(noise(), config=noise())
    return [
        http.get(f"/v2/{repository}/manifests/none"),
        http.get(f"/v2/{repository}/manifests/{SHA}"),
        http.get(f"/v2/{repository}/blobs/{SHA}"),
        http.get(f"/v2/{target.repository()}/tags/list"),
        http.get("/v2/BAD/tags/list"),
        http.get(f"/v2/{repository}/blobs/sha256:x"),
        http.patch(sweep(repository)["upload"], content=b"x", headers=OCTETS),
        target.finish(target.start(repository), digest_of(b"right"), b"wrong"),
        target.put(repository, "broken", b"{"),
        target.put(repository, "missing", missing),
        target.put(repository, SHA, pushed.content),
        http.put(f"/v2/{repository}/tags/list"),
    ]


@pytest.mark.protocol("base.error-body")
def test_error_body(target: Target) -> None:
    for answer in _usual_refusals(target):
        assert 400 <= answer.status_code < 500, answer.request.url
        assert answer.headers["content-type"].partition(";")[0] == "application/json", answer.request.url
        body: dict[str, Any] = answer.json()
        assert isinstance(body["errors"], list) and body["errors"]
        for each in body["errors"]:
            assert set(each) <= {"code", "message", "detail"}
            assert re.fullmatch(r"[A-Z_]+", each["code"])
            assert isinstance(each["message"], str) and each["message"]


@pytest.mark.protocol("base.error-codes")
def test_error_codes(target: Target) -> None:
    codes = [str(answer.json()["errors"][0]["code"]) for answer in _usual_refusals(target)]
    assert set(codes) <= CODES
    assert codes[:2] == ["MANIFEST_UNKNOWN"] * 2
    assert codes[2:8] == (
        ["BLOB_UNKNOWN", "NAME_UNKNOWN", "NAME_INVALID", "DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID"]
    )
    assert codes[8:] == ["MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "DIGEST_INVALID", "UNSUPPORTED"]


@pytest.mark.protocol("base.too-many")
def test_too_many(make_node: MakeNode) -> None:
    node = make_node(limits={"upload_sessions": 2})
    with node.client() as http:
        answers = [http.post("/v2/apps/api/blobs/uploads/") for _ in range(3)]
    assert [each.status_code for each in answers] == [202, 202, 429]
    refused(answers[2], 429, "TOOMANYREQUESTS")
    assert re.fullmatch(r"[1-9]\d*", answers[2].headers["retry-after"])


@pytest.mark.protocol("base.no-such-path")
def test_no_such_path(target: Target) -> None:
    for path in ("/v2/x", "/v2/a/b/c", "/v2/a/manifests", "/v2/a/tags/lists", "/v2//", "/v2/a/blobs"):
        answer = target.http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["errors"][0]["code"] in CODES


@pytest.mark.protocol("base.method")
def test_method(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    urls = sweep(repository, digest=pushed.digest)
    known = {
        "tags": {"GET"},
        "manifest": {"GET", "HEAD", "PUT", "DELETE"},
        "blob": {"GET", "HEAD", "DELETE"},
        "referrers": {"GET"},
        "uploads": {"POST"},
        "upload": {"GET", "PATCH", "PUT", "DELETE"},
    }
    for kind, methods in known.items():
        for method in {"POST", "PUT", "PATCH", "DELETE", "PROPFIND"} - methods:
            answer = target.http.request(method, urls[kind])
            refused(answer, 405, "UNSUPPORTED")
            assert methods <= {each.strip() for each in answer.headers["allow"].split(",")}, (kind, method)
            assert method not in answer.headers["allow"]
    assert target.get(repository, "1.0").content == pushed.content


@pytest.mark.protocol("base.head-is-get")
def test_head_is_get(target: Target) -> None:
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    blob = str(pushed.json["layers"][0]["digest"])
    there = sweep(repository, digest=pushed.digest)
    session = target.start(repository)
    urls = [
        *("/v2/", "/v2/_catalog", f"/v2/{repository}/blobs/{blob}", there["tags"], f"{there['tags']}?n=1"),
        *(there["manifest"], there["manifest-digest"], there["referrers"], f"{there['referrers']}?artifactType=x"),
        *(
            there["upload"],
            session,
            f"/v2/{repository}/manifests/none",
            f"/v2/{repository}/blobs/{SHA}",
            "/v2/BAD/tags/list",
        ),
    ]
    same = (
        "content-type",
        "content-length",
        "docker-content-digest",
        "etag",
        "link",
        "location",
        "range",
        "accept-ranges",
    )
    for url in urls:
        got, head = target.http.get(url), target.http.head(url)
        assert head.status_code == got.status_code, url
        assert head.content == b"", url
        for name in same:
            assert head.headers.get(name) == got.headers.get(name), (url, name)


def connected(target: Target) -> socket.socket:
    host, _, port = target.host.partition(":")
    return socket.create_connection((host, int(port or 80)), timeout=20)


def expecting(target: Target, location: str, content: bytes) -> bytes:
    """The head of a PUT that waits to be told to go on."""
    wanted = httpx.URL(with_query(location, digest=digest_of(content)))
    lines = [f"PUT {wanted.raw_path.decode()} HTTP/1.1", f"Host: {target.host}", "Expect: 100-continue"]
    lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in target.authorization().items()]
    return "\r\n".join((*lines, "", "")).encode()


@pytest.mark.protocol("base.expect-continue")
def test_expect_continue(target: Target) -> None:
    repository, content = target.repository(), noise()
    with connected(target) as sock:
        sock.sendall(expecting(target, target.start(repository), content))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(content)
        assert sock.recv(10_000).startswith(b"HTTP/1.1 201 ")
    assert target.blob_bytes(repository, digest_of(content)) == content


@pytest.mark.protocol("base.expect-refused")
def test_expect_refused(target: Target) -> None:
    repository, content = target.repository(), noise()
    location = target.start(repository)
    for odd in (location.replace(f"/{repository}/", "/BAD/"), f"{target.url}/v2/{repository}/manifests/{'t' * 200}"):
        with connected(target) as sock:
            sock.sendall(expecting(target, odd, content))
            assert re.match(rb"HTTP/1.1 4\d\d ", sock.recv(10_000)), odd  # though no byte of the body came


@pytest.mark.protocol("base.no-500")
def test_no_500(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    odd_headers = (
        {"range": "bytes=" + "9" * 30 + "-"},
        {"content-range": "0-", "content-type": "x" * 300},
        {"accept": "\x7f", "if-none-match": '"' * 20},
        {"content-type": "application/json; charset=\xff".encode("latin-1").decode("latin-1")},
    )
    for kind, url in sweep(repository).items():
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            if (kind, method) in (("manifest", "DELETE"),):
                continue
            for headers in odd_headers:
                sent = {name: value.encode("latin-1") for name, value in headers.items()}
                answer = target.http.request(
                    method, f"{url}?n=%00&last=%ff&digest=x&mount=y", headers=sent, content=b"\0"
                )
                assert answer.status_code < 500, (method, url, headers, answer.text)
    assert target.status(repository, "1.0") == 200
