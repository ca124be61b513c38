"""Lists: tags and repositories, in pages."""

from __future__ import annotations

import pytest

from tests.protocol.target import Target, next_link, noise, refused

TAGS = ["10", "2", "9", "Alpha", "B", "_x", "a", "a-1", "a.1", "a_1", "alpha", "b"]


@pytest.fixture(scope="module")
def repository(target: Target) -> str:
    """Has all of TAGS."""
    name = target.repository()
    pushed = target.image(name, TAGS[0])
    for tag in TAGS[1:]:
        assert target.put(name, tag, pushed.content).status_code == 201
    return name


@pytest.mark.protocol("tags.list")
def test_list(target: Target, repository: str) -> None:
    answer = target.http.get(f"/v2/{repository}/tags/list")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert answer.json()["name"] == repository
    assert sorted(answer.json()["tags"]) == sorted(TAGS)


@pytest.mark.protocol("tags.order")
def test_order(target: Target, repository: str) -> None:
    """Lexical: by the letters, or by the letters whatever their case."""
    listed = target.tags(repository)
    assert listed in (sorted(TAGS), sorted(TAGS, key=lambda each: (each.lower(), each)))
    assert target.tags(repository) == listed
    for at, tag in enumerate(listed):
        assert target.tags(repository, last=tag) == listed[at + 1 :]


@pytest.mark.protocol("tags.n")
def test_n(target: Target, repository: str) -> None:
    listed = target.tags(repository)
    for n in (1, 5, len(TAGS), 100):
        assert target.tags(repository, n=n) == listed[:n]


@pytest.mark.protocol("tags.link")
def test_link(target: Target, repository: str) -> None:
    listed = target.tags(repository)
    for n in (1, 5, 7):
        found: list[str] = []
        url: str | None = f"/v2/{repository}/tags/list?n={n}"
        while url is not None:
            answer = target.http.get(url)
            assert len(answer.json()["tags"]) <= n
            found += answer.json()["tags"]
            url = next_link(answer)
        assert found == listed


@pytest.mark.protocol("tags.last-page")
def test_last_page(target: Target, repository: str) -> None:
    listed = target.tags(repository)
    for query in ({}, {"n": "100"}, {"n": str(len(TAGS))}, {"n": "3", "last": listed[-4]}, {"last": listed[-1]}):
        answer = target.http.get(f"/v2/{repository}/tags/list", params=query)
        assert answer.status_code == 200
        assert "link" not in answer.headers, query


@pytest.mark.protocol("tags.last")
def test_last(target: Target, repository: str) -> None:
    listed = target.tags(repository)
    assert target.tags(repository, last=listed[3]) == listed[4:]
    assert target.tags(repository, last="aa") == [each for each in listed if each > "aa"]
    assert target.tags(repository, last=listed[3], n=2) == listed[4:6]
    assert target.tags(repository, last="zzz") == []


@pytest.mark.protocol("tags.n-zero")
def test_n_zero(target: Target, repository: str) -> None:
    answer = target.http.get(f"/v2/{repository}/tags/list?n=0")
    assert (answer.status_code, answer.json()["tags"]) == (200, [])
    assert "link" not in answer.headers


@pytest.mark.protocol("tags.n-not-a-number")
def test_n_not_a_number(target: Target, repository: str) -> None:
    for n in ("-1", "x", "1.5", "0x10", " ", "١"):
        answer = target.http.get(f"/v2/{repository}/tags/list", params={"n": n})
        assert answer.status_code == 400, n
        assert answer.json()["errors"][0]["message"]


@pytest.mark.protocol("tags.n-huge")
def test_n_huge(target: Target, repository: str) -> None:
    listed = target.tags(repository)
    for n in ("100000", "9223372036854775807", "9" * 100):
        assert target.tags(repository, n=n) == listed


@pytest.mark.protocol("tags.unknown-repository")
def test_unknown_repository(target: Target) -> None:
    refused(target.http.get(f"/v2/{target.repository()}/tags/list"), 404, "NAME_UNKNOWN")


@pytest.mark.protocol("tags.none")
def test_none(target: Target) -> None:
    name = target.repository()
    target.image(name)
    answer = target.http.get(f"/v2/{name}/tags/list")
    assert (answer.status_code, answer.json()) == (200, {"name": name, "tags": []})


@pytest.mark.protocol("tags.catalog")
def test_catalog(target: Target) -> None:
    names = sorted(target.repository() for _ in range(3))
    for each in names:
        target.image(each, "1.0", (noise(),))
    whole: list[str] = []
    url: str | None = "/v2/_catalog?n=2"
    while url is not None:
        answer = target.http.get(url)
        assert answer.status_code == 200
        assert len(answer.json()["repositories"]) <= 2
        whole += answer.json()["repositories"]
        url = next_link(answer)
    assert whole == sorted(set(whole))
    assert set(names) <= set(whole)
    after = target.http.get("/v2/_catalog", params={"last": names[0], "n": 1000}).json()["repositories"]
    assert after == whole[whole.index(names[0]) + 1 :][:1000]
