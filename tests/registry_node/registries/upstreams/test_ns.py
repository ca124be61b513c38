"""``?ns=`` (containerd: which registry is meant) at a running mirror before two registries that hold the same names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.nodes import running
from tests.upstreams.faults import hang_up
from tests.upstreams.holdings import Image
from tests.upstreams.lying import LyingUpstream, Plan

pytestmark = pytest.mark.slow
ACCEPT = {"accept": "application/vnd.oci.image.manifest.v1+json"}
MANIFEST = "/v2/team/app/manifests/1"


class Two:
    """``first`` is docker.io, ``second`` quay.io; ``alone``: an image that only the second has."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.first, self.second = (stack.enter_context(LyingUpstream()) for _ in range(2))
        self.images = [each.holdings.image("team/app", name, tags=("1",)) for each, name in self._named()]
        self.alone: Image = self.second.holdings.image("team/alone", b"alone", tags=("1",))
        upstreams = [
            {"name": "first", "url": self.first.url, "hosts": ["docker.io"]},
            {"name": "second", "url": self.second.url, "hosts": ["quay.io"], "deny": ["secret/**"]},
        ]
        grants = [{"to": "everyone", "allow": ["pull"]}]
        mirror = {"upstreams": upstreams, "negative_seconds": 0}
        node = stack.enter_context(running(folder, node="cache", kind="mirror", mirror=mirror, grants=grants))
        self.http: httpx.Client = stack.enter_context(node.client(None, timeout=30, headers=ACCEPT))

    def _named(self) -> Iterator[tuple[LyingUpstream, bytes]]:
        yield self.first, b"of the first"
        yield self.second, b"of the second"

    def get(self, path: str, ns: str = "") -> httpx.Response:
        return self.http.get(path, params={"ns": ns} if ns else {})

    def seen(self) -> int:
        return len(self.first.server.seen) + len(self.second.server.seen) + len(self.first.stranger.seen)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(tmp_path, stack)


@pytest.mark.attack("A-ns-proxy")
def test_each_registry_s_image_under_its_own_name(two: Two) -> None:
    """Cold and cached, whoever came first."""
    first, second = two.images
    for _ in range(2):
        assert two.get(MANIFEST, "quay.io").content == second.content
        assert two.get(MANIFEST, "docker.io").content == first.content
        assert two.get(MANIFEST).content == first.content, "without ns the order holds"
        assert two.get(MANIFEST, "QUAY.IO").content == second.content
    blob = next(digest for digest, content in second.blobs.items() if content == b"of the second")
    assert two.get(f"/v2/team/app/blobs/{blob}", "quay.io").content == b"of the second"
    assert two.get(f"/v2/team/app/blobs/{blob}", "docker.io").status_code == 404
    assert two.get("/v2/team/alone/manifests/1", "docker.io").status_code == 404
    assert two.get("/v2/team/alone/manifests/1", "quay.io").content == two.alone.content


@pytest.mark.attack("A-ns-proxy")
@pytest.mark.parametrize("ns", ["evil.example", "169.254.169.254", "STRANGER", "docker.io@evil", "docker.io/../x", "*"])
def test_a_registry_that_nobody_declared_is_asked_nothing(two: Two, ns: str) -> None:
    before = two.seen()
    answer = two.get(MANIFEST, two.first.stranger.host if ns == "STRANGER" else ns)
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["code"] == "NAME_UNKNOWN"
    assert "quay.io" in answer.text, "it says what it stands for"
    assert two.seen() == before


@pytest.mark.attack("A-ns-proxy")
def test_the_cache_s_own_names_are_nobody_s(two: Two) -> None:
    """What is kept for quay.io alone cannot be asked for by the name under which it lies there."""
    assert two.get(MANIFEST, "quay.io").status_code == 200
    before = two.seen()
    for name in ("by-ns/second/team/app", "by-ns"):
        assert two.get(f"/v2/{name}/manifests/1").status_code == 404
        assert two.get(f"/v2/{name}/manifests/1", "quay.io").status_code == 404
    assert two.seen() == before


@pytest.mark.attack("A-ns-proxy")
def test_an_ns_opens_no_name_that_is_denied(two: Two) -> None:
    two.second.holdings.image("secret/app", b"secret", tags=("1",))
    before = len(two.second.server.seen)
    assert two.get("/v2/secret/app/manifests/1", "quay.io").status_code == 404
    assert len(two.second.server.seen) == before


def test_why_says_who_was_not_asked(two: Two) -> None:
    """When one fails, and when nobody may be asked or has it."""

    def asked(name: str) -> list[tuple[str, str]]:
        told = two.get(f"/_towpath/v1/r/{name}/_/why/1").json()
        return [(each["member"], each["outcome"]) for each in told["asked"]]

    assert asked("team/none") == [("first", "absent"), ("second", "absent")]
    assert asked("secret/none") == [("first", "absent"), ("second", "not asked")]
    two.first.plan = Plan(among=[hang_up], slow=0, methods=("GET", "HEAD"))
    assert asked("team/app") == [("first", "failed"), ("second", "not asked")]
