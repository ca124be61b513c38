"""The upstreams of the tests are what they say they are, else the tests that stand on them prove nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random

import httpx
import pytest

from tests.upstreams import faults
from tests.upstreams.counting import CountingProxy
from tests.upstreams.holdings import Holdings, digest_of
from tests.upstreams.hub import SERVICE, FakeHub
from tests.upstreams.lying import LyingUpstream, Plan

LAYER = os.urandom(300_000)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5, follow_redirects=False) as client:
        yield client


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(budget=3, users={"ana": "secret"}) as started:
        yield started


def signed_in(http: httpx.Client, hub: FakeHub, repository: str, auth: tuple[str, str] | None = None) -> dict[str, str]:
    query = {"service": SERVICE, "scope": f"repository:{repository}:pull"}
    token = http.get(f"{hub.tokens.url}/token", params=query, auth=auth).raise_for_status().json()["token"]
    return {"authorization": f"Bearer {token}"}


def test_the_hub_wants_a_token_of_another_host(http: httpx.Client, hub: FakeHub) -> None:
    image = hub.image("alpine", LAYER)
    url = f"{hub.url}/v2/library/alpine/manifests/latest"
    refused = http.get(url)
    assert refused.status_code == 401
    assert f'realm="{hub.tokens.url}/token",service="{SERVICE}"' in refused.headers["www-authenticate"]
    headers = signed_in(http, hub, "library/alpine")
    assert http.get(url, headers=headers).content == image.content
    assert http.get(f"{hub.url}/v2/alpine/manifests/latest", headers=headers).status_code == 401
    absent = signed_in(http, hub, "library/absent")
    assert http.get(f"{hub.url}/v2/library/absent/manifests/latest", headers=absent).status_code == 401
    hub.forget_tokens()
    assert http.get(url, headers=headers).status_code == 401


def test_the_hub_counts_manifests_and_heads_are_free(http: httpx.Client, hub: FakeHub) -> None:
    hub.image("alpine", LAYER)
    url = f"{hub.url}/v2/library/alpine/manifests/latest"
    anybody, ana = (signed_in(http, hub, "library/alpine", who) for who in (None, ("ana", "secret")))
    left = [http.get(url, headers=anybody).headers["ratelimit-remaining"] for _ in range(3)]
    assert left == ["2;w=21600", "1;w=21600", "0;w=21600"]
    spent = http.get(url, headers=anybody)
    assert (spent.status_code, spent.headers["retry-after"]) == (429, "60")
    assert http.head(url, headers=anybody).status_code == 200
    assert http.get(url, headers=ana).status_code == 200
    assert hub.objects()["GET library/alpine latest"] == 5
    assert http.get(f"{hub.tokens.url}/token", auth=("ana", "wrong")).status_code == 401


def test_the_hubs_blobs_come_from_storage_that_wants_no_credentials(http: httpx.Client, hub: FakeHub) -> None:
    image = hub.image("alpine", LAYER)
    digest = digest_of(LAYER)
    headers = signed_in(http, hub, "library/alpine")
    moved = http.get(f"{hub.url}/v2/library/alpine/blobs/{digest}", headers=headers)
    assert moved.status_code == 307
    assert http.get(moved.headers["location"], headers=headers).status_code == 400
    assert http.get(moved.headers["location"]).content == LAYER == image.blobs[digest]
    part = http.get(moved.headers["location"], headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, LAYER[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(LAYER)}"


def test_an_honest_lying_upstream_is_honest(http: httpx.Client) -> None:
    with LyingUpstream() as upstream:
        image = upstream.holdings.image("app", LAYER, tags=("1", "2", "3"))
        url = f"{upstream.url}/v2/app/manifests"
        assert http.get(f"{url}/1").content == http.get(f"{url}/{image.digest}").content == image.content
        head = http.head(f"{url}/1")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(image.content)))
        assert http.get(f"{url}/1", headers={"if-none-match": f'"{image.digest}"'}).status_code == 304
        assert http.get(f"{url}/4").status_code == 404
        page = http.get(f"{upstream.url}/v2/app/tags/list", params={"n": "2"})
        assert (page.json()["tags"], "last=2" in page.headers["link"]) == (["1", "2"], True)


@pytest.mark.parametrize("fault", faults.QUICK, ids=lambda each: each.__name__)
def test_a_fault_is_one(http: httpx.Client, fault: faults.Fault) -> None:
    """A plain client, which compares with what was asked for, cannot take the answer for the honest one."""
    with LyingUpstream(Plan(1, slow=0, among=[fault])) as upstream:
        image = upstream.holdings.image("app", LAYER, tags=("1",))
        digest = digest_of(LAYER)
        url = f"{upstream.url}/v2/app/blobs/{digest}"
        try:
            with http.stream("GET", url) as answer:
                got = b"".join(_at_most(answer.iter_bytes(), 2 * len(LAYER)))
                told = answer.headers.get("docker-content-digest"), answer.headers.get("content-type")
                honest = (answer.status_code, got, told) == (200, LAYER, (digest, "application/octet-stream"))
                assert not honest or answer.headers.get("content-encoding") or len(answer.headers.get("x-much", ""))
        except httpx.HTTPError:
            pass
        assert upstream.plan.done == {fault.__name__: 1}
        upstream.plan.stop()
        assert http.get(url).content == LAYER
        assert image.digest


def _at_most(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        most -= len(piece)
        if most < 0:
            return


def test_the_same_seed_is_the_same_plan() -> None:
    holdings = Holdings()
    holdings.image("app", LAYER, tags=("1",))

    def run(seed: int) -> list[str]:
        plan = Plan(seed, share=0.5)
        return [plan.spoilt(_request(), holdings.answer(_request())).fault for _ in range(60)]

    assert run(7) == run(7) != run(8)
    assert "" in run(7)


def _request() -> faults.Request:
    return faults.Request("GET", f"/v2/app/blobs/{digest_of(LAYER)}", {}, {})


def test_a_faults_randomness_is_the_plans() -> None:
    reply = faults.Reply(200, {}, b"content")
    assert faults.changed_byte(_request(), reply, Random(3)) == faults.changed_byte(_request(), reply, Random(3))


def test_the_proxy_counts_cuts_and_stops(http: httpx.Client) -> None:
    with LyingUpstream() as upstream, CountingProxy(upstream.server.host) as proxy:
        image = upstream.holdings.image("app", LAYER, tags=("1",))
        blob = f"{proxy.url}/v2/app/blobs/{digest_of(LAYER)}"
        assert [http.get(f"{proxy.url}/v2/app/manifests/1").content for _ in range(2)] == [image.content] * 2
        assert http.get(blob).content == LAYER
        assert proxy.objects() == {"app manifests 1": 2, f"app blobs {digest_of(LAYER)}": 1}
        proxy.forget()
        proxy.stop()
        with pytest.raises(httpx.TransportError):
            http.get(blob)
        proxy.cut_after = 100_000
        proxy.start()
        with pytest.raises(httpx.TransportError):
            http.get(blob)
        assert http.get(blob).content == LAYER
        assert proxy.objects("GET").total() == 2
