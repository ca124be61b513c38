"""Attacks by what stands in a path, a query or a header."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from tests.nodes import RunningNode
from tests.protocol.target import OCTETS, Target, digest_of, noise

SQL = (
    "' OR '1'='1",
    "1; DROP TABLE tags;--",
    "') UNION SELECT body FROM manifests--",
    '" OR ""="',
    "%",
    "_%",
    "\\",
    "a\x00b",
    "/*",
    "$1",
    ":name",
    "?",
)
DOTS = (
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "..%2f..",
    "%2f",
    "%5c..%5c",
    "",
    "%00",
    "%252e%252e",
    "..;",
    "%c0%ae%c0%ae",
)


def _places(target: Target, repository: str, odd: str) -> list[tuple[str, str]]:
    """Every place of a URL that reaches the index, with something odd in it. ``odd`` is encoded already."""
    here = f"/v2/{repository}"
    return [
        *(("GET", f"/v2/{odd}/tags/list"), ("GET", f"{here}/{odd}/tags/list"), ("GET", f"{here}/manifests/{odd}")),
        *(
            ("HEAD", f"{here}/manifests/{odd}"),
            ("DELETE", f"{here}/manifests/{odd}"),
            ("PUT", f"{here}/manifests/{odd}"),
        ),
        *(("GET", f"{here}/blobs/{odd}"), ("DELETE", f"{here}/blobs/{odd}"), ("GET", f"{here}/referrers/{odd}")),
        *(("GET", f"{here}/blobs/uploads/{odd}"), ("PATCH", f"{here}/blobs/uploads/{odd}")),
        *(("PUT", f"{here}/blobs/uploads/{odd}?digest={odd}"), ("DELETE", f"{here}/blobs/uploads/{odd}")),
        ("POST", f"/v2/{odd}/blobs/uploads/"),
        *(("GET", f"/v2/{odd}/blobs/{digest_of(b'')}"), ("GET", f"/_towpath/v1/r/{odd}/_/tags")),
        *(
            ("PUT", f"/_towpath/v1/r/{repository}/_/holds/{odd}"),
            ("GET", f"/_towpath/v1/r/{repository}/_/closure/{odd}"),
        ),
    ]


@pytest.mark.attack("A-sql")
def test_quotes_and_wildcards_are_letters(target: Target) -> None:
    repository, neighbour = target.repository(), target.repository()
    pushed = target.image(repository, "1.0")
    target.image(neighbour, "private")
    for text in SQL:
        odd = quote(text, safe="")
        for method, path in _places(target, repository, odd):
            answer = target.raw(method, path)
            assert 400 <= answer.status_code < 500, (method, path, answer.status_code)
        listed = target.http.get(f"/v2/{repository}/tags/list", params={"last": text})
        assert listed.json()["tags"] == (["1.0"] if text < "1.0" else [])
        names = target.http.get("/v2/_catalog", params={"last": text, "n": 10_000}).json()["repositories"]
        assert all(name > text for name in names)
        assert target.referrers(repository, pushed.digest, artifactType=text) == []
        mounted = target.http.post(f"/v2/{repository}/blobs/uploads/", params={"mount": text, "from": text})
        assert mounted.status_code == 400
    assert target.tags(repository) == ["1.0"]
    assert target.get(repository, "1.0").content == pushed.content
    assert target.tags(neighbour) == ["private"]


@pytest.mark.attack("A-path-tricks")
def test_dots_and_slashes_lead_nowhere(node: RunningNode, target: Target) -> None:
    repository = target.repository("hidden")
    pushed = target.image(repository, "1.0")
    layer = str(pushed.json["layers"][0]["digest"])
    before = sorted(path.relative_to(node.data) for path in node.data.rglob("*") if path.is_file())
    with node.client("reader") as reader:
        for dots in DOTS:
            for path in (
                f"/v2/apps/{dots}/{repository}/manifests/1.0",
                f"/v2/{dots}/{repository}/manifests/1.0",
                f"/v2/apps/x/manifests/{dots}/{repository}/manifests/1.0",
                f"/{dots}/v2/{repository}/manifests/1.0",
                f"/v2/apps/x/blobs/{dots}/{layer}",
                f"/v2/apps/x/{dots}/{dots}/{repository}/blobs/{layer}",
                f"/v2/apps/x/blobs/uploads/{dots}/{dots}/keys/token.pem",
                f"/_towpath/v1/r/apps/{dots}/{repository}/_/tags",
                f"/{dots}/healthz/{dots}/v2/{repository}/tags/list",
            ):
                answer = target.raw("GET", path, reader)
                assert 400 <= answer.status_code < 500, (path, answer.status_code)
                assert pushed.content not in answer.content
    for dots in DOTS:
        for method, path in _places(target, repository, dots):
            if dots in ("", ".", "..") and path.endswith("/manifests/"):
                continue
            answer = target.raw(method, path)
            assert 400 <= answer.status_code < 500, (method, path, answer.status_code)
    assert target.get(repository, "1.0").content == pushed.content
    after = sorted(path.relative_to(node.data) for path in node.data.rglob("*") if path.is_file())
    assert [path for path in after if path not in before] == []


@pytest.mark.attack("A-open-redirect")
def test_nothing_leads_to_another_host(target: Target) -> None:
    repository, content = target.repository(), noise()
    evil = "evil.example"
    paths = (
        f"//{evil}",
        f"//{evil}/v2/",
        f"/v2//{evil}/",
        f"///{evil}",
        f"/\\{evil}",
        f"/v2/..//{evil}",
        f"/{evil}%2f..",
        "/v2",
    )
    for path in paths:
        for method in ("GET", "HEAD", "POST"):
            answer = target.raw(method, path)
            assert not 300 <= answer.status_code < 400, (method, path)
            assert "location" not in answer.headers
    forged = {
        "x-forwarded-host": evil,
        "x-forwarded-proto": "https",
        "forwarded": f"host={evil}",
        "x-original-url": f"//{evil}",
    }
    started = target.http.post(f"/v2/{repository}/blobs/uploads/", headers=forged)
    location = started.headers["location"]
    assert location.startswith(f"/v2/{repository}/blobs/uploads/") and evil not in location
    url = f"{target.at(location)}?digest={digest_of(content)}"
    done = target.http.put(url, content=content, headers={**OCTETS, **forged})
    assert done.headers["location"] == f"/v2/{repository}/blobs/{digest_of(content)}"
    target.image(repository, "1.0")
    target.image(repository, "2.0")
    page = target.http.get(f"/v2/{repository}/tags/list?n=1", headers=forged)
    assert page.headers["link"].startswith(f"</v2/{repository}/tags/list?")
    challenge = httpx.get(f"{target.url}/v2/", headers=forged, trust_env=False).headers["www-authenticate"]
    assert f'realm="{target.url}/auth/token"' in challenge
