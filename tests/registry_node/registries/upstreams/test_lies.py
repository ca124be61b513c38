"""An upstream that gave wrong bytes for a digest is asked for that one after all others, for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import UpstreamFailed
from oci_wire.registry import Call
from registry_node.registries.upstreams import Upstreams
from registry_node.registries.upstreams.lies import SECONDS, Lies
from registry_node.settings.mirror import Mirror
from tests.registry_node.registries.upstreams.conftest import Over
from tests.upstreams import faults
from tests.upstreams.holdings import Holdings, Image
from tests.upstreams.lying import LyingUpstream, Plan
from tests.upstreams.serving import Server

LAYER = os.urandom(100_000)
CALL = Call("tests")
Two = tuple[LyingUpstream, Server, Image]


@pytest.fixture
def two() -> Iterator[Two]:
    """The first one lies, the second one has the same and does not."""
    honest = Holdings()
    image = honest.image("team/app", LAYER, tags=("1",))
    with LyingUpstream(Plan(among=[faults.other_bytes], slow=0)) as liar, Server(honest.answer, "127.0.0.9") as other:
        liar.holdings.image("team/app", LAYER, tags=("1",))
        yield liar, other, image


def of(two: Two) -> list[dict[str, object]]:
    return [{"name": "liar", "url": two[0].url}, {"name": "honest", "url": two[1].url}]


def test_it_is_forgotten_after_a_while() -> None:
    now = [0.0]
    lies = Lies(clock=lambda: now[0])
    lies.note("a", "d")
    now[0] = 5.0
    lies.note("b", "d")
    assert sorted("bac", key=lambda name: lies.told_at(name, "d")) == ["c", "a", "b"]
    assert sorted("bac", key=lambda name: lies.told_at(name, "other")) == ["b", "a", "c"]
    now[0] = SECONDS + 1
    assert sorted("bca", key=lambda name: lies.told_at(name, "d")) == ["c", "a", "b"]


async def test_who_lied_about_a_digest_is_asked_last_for_it_alone(over: Over, two: Two) -> None:
    upstreams, layer = over(*of(two)), Digest.of(LAYER)
    assert (await upstreams.open_blob(CALL, "team/app", layer, prefer="liar")).upstream == "liar"
    upstreams.blame("liar", layer)
    for _ in range(2):
        found = await upstreams.open_blob(CALL, "team/app", layer, prefer="liar")
        assert (found.upstream, await found.value.read()) == ("honest", LAYER)
    assert (await upstreams.resolve(CALL, "team/app", "1")).upstream == "liar"
    assert upstreams.status()[0].requests["bad-answer"] == 1
    two[1].close()
    assert (await upstreams.open_blob(CALL, "team/app", layer)).upstream == "liar", "last is not never"


async def test_who_sent_another_manifest_is_not_asked_for_it_again(over: Over, two: Two) -> None:
    liar, _, image = two
    upstreams = over(*of(two))
    for _ in range(3):
        found = await upstreams.get_manifest(CALL, "team/app", image.digest)
        assert (found.upstream, found.value.content) == ("honest", image.content)
    assert liar.server.count("GET", "manifests") == 1


async def test_a_manifest_beyond_the_limit_is_refused_with_the_reason(two: Two) -> None:
    _, server, image = two
    settings = Mirror.model_validate({"upstreams": [{"name": "honest", "url": server.url}]})
    for limit, taken in ((len(image.content), True), (len(image.content) - 1, False)):
        upstreams = Upstreams.of(settings, manifest_bytes=limit)
        try:
            for reference in ("1", image.digest):
                if taken:
                    assert (await upstreams.get_manifest(CALL, "team/app", reference)).value.content == image.content
                    continue
                with pytest.raises(UpstreamFailed) as failed:
                    await upstreams.get_manifest(CALL, "team/app", reference)
                assert (failed.value.status, failed.value.reason) == (502, "too-large")
                assert "limits.manifest_bytes" in failed.value.message
            assert upstreams.status()[0].circuit == "closed"
        finally:
            await upstreams.aclose()
