"""A mirror node before upstreams that lie, hang, lead astray or go away: what comes whole is right, at the client and in
the cache; what an upstream sees is counted."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.nodes import RunningNode, log_lines, running
from tests.upstreams import faults
from tests.upstreams.counting import CountingProxy
from tests.upstreams.holdings import Image, digest_of
from tests.upstreams.hub import FakeHub
from tests.upstreams.lying import LyingUpstream, Plan
from tests.upstreams.serving import Server, refusal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ACCEPT = {"accept": "application/vnd.oci.image.manifest.v1+json"}
SECRET = "ana:upstream-secret"


def mirror(folder: Path, *upstreams: dict[str, Any], **settings: Any) -> Any:
    return running(folder, node="cache", scope="cache", kind="mirror", mirror={"upstreams": upstreams, **settings})


def objects_of(image: Image) -> list[tuple[str, str]]:
    """Path and digest of its manifest and of its blobs."""
    blobs = [(f"/v2/{image.repository}/blobs/{digest}", digest) for digest in image.blobs]
    return [(f"/v2/{image.repository}/manifests/{image.digest}", image.digest), *blobs]


def asked(http: httpx.Client, path: str) -> tuple[int, bytes]:
    """Status and body; 0 when the answer did not come whole."""
    try:
        answer = http.get(path, headers=ACCEPT)
    except httpx.HTTPError:
        return 0, b""
    return answer.status_code, answer.content


def assert_cache_is_right(node: RunningNode) -> None:
    """Every file of the cache hashes to its name, and nothing is on its way for ever."""
    for path in (node.data / "blobs").rglob("*"):
        if path.is_file():
            assert hashlib.new(path.parent.parent.name, path.read_bytes()).hexdigest() == path.name


def until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


@pytest.mark.attack("A-cache-wrong-bytes")
@pytest.mark.attack("A-decompression")
@pytest.mark.attack("A-cache-poisoning")
def test_a_thousand_faulty_answers(tmp_path: Path) -> None:
    """Each repository has an upstream of its own name, so that one circuit does not keep the others from being lied to."""
    with LyingUpstream() as liar:
        liar.plan = Plan(5, share=0.6, slow=0.003)
        quick = [each for each in faults.QUICK if each is not faults.too_many_untold]
        liar.plan.among = (*quick, liar.to_stranger, liar.realm_at_stranger)
        names = [f"lies/r{number}" for number in range(200)]
        images = [liar.holdings.image(name, *(os.urandom(40_000) for _ in range(4))) for name in names]
        upstreams = [{"name": f"u{n}", "url": liar.url, "repositories": [name]} for n, name in enumerate(names)]
        every = [each for image in images for each in objects_of(image)]
        with mirror(tmp_path, *upstreams, answer_seconds=1) as node, node.client(timeout=30) as http:
            process = psutil.Process(node.process.pid)
            before, statuses = process.memory_info().rss, set()

            def ask(path: str, digest: str) -> str:
                status, content = asked(http, path)
                statuses.add(status)
                return path if status == 200 and digest_of(content) != digest else ""

            wrong: list[str] = []
            with ThreadPoolExecutor(16) as threads:
                end = time.monotonic() + 150
                while liar.plan.done.total() < 1000 and time.monotonic() < end:
                    wrong += filter(None, threads.map(lambda each: ask(*each), every))
            assert wrong == []
            assert liar.plan.done.total() >= 1000 and len(liar.plan.done) > 20, liar.plan.done
            assert statuses <= {0, 200, 502, 503, 504}, statuses
            assert process.memory_info().rss - before < 100 * 1024 * 1024
            assert_cache_is_right(node)
            liar.plan.stop()
            node.restart()  # circuits begin anew; what a 429 said is kept

            def wrong_or_missing() -> list[tuple[int, str]]:
                answers = [(*asked(http, path), digest) for path, digest in every]
                assert not [digest for status, body, digest in answers if status == 200 and digest_of(body) != digest]
                return [(status, digest) for status, _, digest in answers if status != 200]

            until(lambda: wrong_or_missing() == [], 120)
            assert_cache_is_right(node)


@pytest.fixture
def line() -> Iterator[tuple[LyingUpstream, CountingProxy]]:
    with LyingUpstream() as upstream, CountingProxy(upstream.server.host) as proxy:
        yield upstream, proxy


@pytest.mark.attack("A-cache-herd")
def test_a_hundred_joiners_are_one(tmp_path: Path, line: tuple[LyingUpstream, CountingProxy]) -> None:
    upstream, proxy = line
    image = upstream.holdings.image("app/herd", *(os.urandom(300_000) for _ in range(5)), tags=("1",))
    proxy.delay, proxy.bytes_per_second = 0.01, 10_000_000
    # The upstream answers in this process, beside a hundred clients: on a busy machine it is slow, and that is no outage.
    origin, patience = {"name": "origin", "url": proxy.url}, {"answer_seconds": 60}
    kept = httpx.Limits(max_connections=None, max_keepalive_connections=None)  # a pool of theirs is not what is tested
    with mirror(tmp_path, origin, **patience) as node, node.client(timeout=60, limits=kept) as http:

        def pull(_: int) -> list[tuple[str, int, int]]:
            """What was not as it should be: path, status, bytes."""
            wanted = {"/v2/app/herd/manifests/1": digest_of(image.content), **dict(objects_of(image))}
            found = ((path, digest, asked(http, path)) for path, digest in wanted.items())
            return [(path, code, len(body)) for path, digest, (code, body) in found if digest_of(body) != digest]

        with ThreadPoolExecutor(100) as threads:
            assert [each for wrong in threads.map(pull, range(100)) for each in wrong] == []
    found = proxy.objects("GET")
    assert len(found) == 7 and set(found.values()) == {1}, found


@pytest.mark.attack("A-cache-herd")
def test_a_client_that_leaves_stops_a_fill_that_nobody_waits_for(
    tmp_path: Path, line: tuple[LyingUpstream, CountingProxy]
) -> None:
    upstream, proxy = line
    layer = os.urandom(8_000_000)
    image = upstream.holdings.image("app/left", layer, tags=("1",))
    path = f"/v2/{image.repository}/blobs/{digest_of(layer)}"
    proxy.bytes_per_second = 2_000_000
    with mirror(tmp_path, {"name": "origin", "url": proxy.url}, finish_share=0.9) as node, node.client() as http:
        with http.stream("GET", path) as answer:
            next(answer.iter_raw(1000))
        until(lambda: any('"fill"' in each and "everybody left" in each for each in node.log.read_text().splitlines()))
        proxy.bytes_per_second = None
        assert asked(http, path) == (200, layer)
        ranges = [each.headers.get("range") for each in upstream.server.seen if each.path == path]
        assert len(ranges) == 2 and ranges[0] is None and ranges[1] is not None, "it goes on where it stopped"
        assert_cache_is_right(node)


def test_killed_in_mid_fill_it_begins_anew_and_holds_nothing_half(
    tmp_path: Path, line: tuple[LyingUpstream, CountingProxy]
) -> None:
    upstream, proxy = line
    layer = os.urandom(6_000_000)
    upstream.holdings.image("app/killed", layer, tags=("1",))
    path = f"/v2/app/killed/blobs/{digest_of(layer)}"
    proxy.bytes_per_second = 2_000_000
    with mirror(tmp_path, {"name": "origin", "url": proxy.url}) as node, node.client(timeout=30) as http:
        with http.stream("GET", path) as answer:
            next(answer.iter_raw(1000))
            node.kill()
        node.start()
        assert_cache_is_right(node)
        proxy.bytes_per_second = None
        assert asked(http, path) == (200, layer)
        proxy.stop()
        assert asked(http, path) == (200, layer)


@pytest.mark.parametrize("outage", ["stopped", "hangs", "too-many", "broken"])
def test_what_is_cached_outlives_its_upstream(tmp_path: Path, outage: str) -> None:
    spoilt = {"hangs": faults.silence, "too-many": faults.too_many, "broken": faults.server_error}
    with LyingUpstream() as upstream:
        image = upstream.holdings.image("app/kept", os.urandom(100_000), tags=("1",))
        upstream.holdings.image("app/new", b"never asked for", tags=("1",))
        origin = {"name": "origin", "url": upstream.url}
        with mirror(tmp_path, origin, tag_seconds=0, answer_seconds=1) as node, node.client(timeout=30) as http:
            everything = [("/v2/app/kept/manifests/1", image.digest), *objects_of(image)]
            assert all(digest_of(asked(http, path)[1]) == digest for path, digest in everything)
            if outage == "stopped":
                upstream.server.close()
            else:
                upstream.plan = Plan(among=[spoilt[outage]], slow=0, methods=("GET", "HEAD"))
            for path, digest in everything:
                answer = http.get(path, headers=ACCEPT)
                assert (answer.status_code, digest_of(answer.content)) == (200, digest)
            stale = http.get("/v2/app/kept/manifests/1", headers=ACCEPT)
            assert stale.headers["warning"].startswith("110 ") and int(stale.headers["age"]) >= 0
            refused = http.get("/v2/app/new/manifests/1", headers=ACCEPT)
            assert refused.status_code in (502, 503, 504) and "origin" in refused.json()["errors"][0]["message"]


def test_the_hub_when_its_budget_is_spent(tmp_path: Path) -> None:
    """Token realm, redirects, ``library/``, 429: what is cached is served, and the storage sees no credentials."""
    with FakeHub(budget=1, users={"ana": "upstream-secret"}) as hub:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        image = hub.image("alpine", os.urandom(200_000))
        hub.image("busybox", b"other")
        upstream = {"name": "hub", "url": hub.url, "official_images": True, "realms": ["127.0.0.2"]}
        upstream["credentials"] = {"file": str(secret)}
        with mirror(tmp_path / "node", upstream, tag_seconds=0) as node, node.client(timeout=30) as http:
            for name in ("alpine", "library/alpine"):
                assert asked(http, f"/v2/{name}/manifests/latest") == (200, image.content)
                for digest, content in image.blobs.items():
                    assert asked(http, f"/v2/{name}/blobs/{digest}") == (200, content)
            answer = http.get("/v2/busybox/manifests/latest", headers=ACCEPT)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            assert asked(http, "/v2/alpine/manifests/latest") == (200, image.content)
        objects = hub.objects()
        assert objects["GET library/alpine " + image.digest] + objects["GET library/alpine latest"] == 1
        assert all(objects[f"GET library/alpine {digest}"] == 1 for digest in image.blobs)
        assert [each for each in hub.storage.seen if "authorization" in each.headers] == []
        assert any("authorization" in each.headers for each in hub.tokens.seen)
        assert hub.spent == {"ana": 1}


@pytest.mark.attack("A-upstream-addresses")
@pytest.mark.attack("A-foreign-redirect")
@pytest.mark.attack("A-foreign-realm")
def test_an_upstream_leads_nowhere_with_credentials(tmp_path: Path) -> None:
    """Redirects to metadata, files and round in circles, a realm and content at a stranger's."""
    with LyingUpstream(basic=SECRET) as liar:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        secret.write_text(SECRET)
        ways = (faults.redirect_to_metadata, faults.redirect_round, faults.redirect_to_file)
        kinds = (*ways, liar.to_stranger, liar.realm_at_stranger)
        images = [liar.holdings.image(f"led/r{n}", os.urandom(50_000)) for n in range(len(kinds))]
        upstreams = [
            {"name": f"u{n}", "url": liar.url, "repositories": [f"led/r{n}"], "credentials": {"file": str(secret)}}
            for n in range(len(kinds))
        ]
        with mirror(tmp_path / "node", *upstreams, answer_seconds=3) as node, node.client(timeout=30) as http:
            for image, kind in zip(images, kinds, strict=True):
                liar.plan = Plan(among=[kind], slow=0)
                for path, digest in objects_of(image):
                    status, content = asked(http, path)
                    assert status in (0, 404, 502, 503, 504), (kind, status)
                    assert digest_of(content) != digest
                assert liar.plan.done.total() >= 1, kind
            assert_cache_is_right(node)
        said = [f"{each.headers} {each.query} {each.path}" for each in liar.stranger.seen]
        assert [each for each in said if "authorization" in each or "upstream-secret" in each] == []


@pytest.mark.attack("A-cache-poisoning")
def test_nobody_can_write_into_the_cache(tmp_path: Path, line: tuple[LyingUpstream, CountingProxy]) -> None:
    upstream, _ = line
    image = upstream.holdings.image("app/own", b"layer", tags=("1",))
    with mirror(tmp_path, {"name": "origin", "url": upstream.url}) as node, node.client("dev") as http:
        evil = image.content.replace(b'"layers"', b'"annotations": {"by": "evil"}, "layers"')
        answers = [
            http.put("/v2/app/own/manifests/1", content=evil, headers={"content-type": ACCEPT["accept"]}),
            http.put(f"/v2/app/own/manifests/{digest_of(evil)}", content=evil),
            http.post("/v2/app/own/blobs/uploads/"),
            http.post("/v2/app/own/blobs/uploads/", params={"digest": digest_of(b"evil")}, content=b"evil"),
            http.post("/v2/app/own/blobs/uploads/", params={"mount": digest_of(b"layer"), "from": "app/other"}),
        ]
        assert [each.status_code for each in answers] == [405] * len(answers)
        assert asked(http, "/v2/app/own/manifests/1") == (200, image.content)
        assert asked(http, f"/v2/app/own/manifests/{digest_of(evil)}")[0] == 404
        assert asked(http, f"/v2/app/own/blobs/{digest_of(b'evil')}")[0] == 404


@pytest.mark.attack("A-log-injection")
def test_what_an_upstream_says_forges_no_line_of_the_log(tmp_path: Path) -> None:
    denial = refusal(403, "DENIED", 'no\n{"level": "info", "event": "forged"}\n')
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    with Server(lambda _: denial) as upstream:
        told = {"name": "origin", "url": upstream.url, "credentials": {"file": str(secret)}}
        with mirror(tmp_path / "node", told) as node, node.client("dev") as http:
            assert asked(http, "/v2/team/app/manifests/1")[0] == 502
        node.stop()
    lines = log_lines(node)
    assert len(lines) == len(node.log.read_text().splitlines()), "each line is one JSON object"
    assert "forged" in next(each for each in lines if each.get("event") == "log")["message"]
    assert "forged" not in [each.get("event") for each in lines]
