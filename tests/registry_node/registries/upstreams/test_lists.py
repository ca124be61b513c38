"""Lists of several upstreams: what a pull would find, each thing once, in pages that hold together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.errors import NameUnknown, UpstreamFailed
from oci_wire.registry import Call
from tests.registry_node.registries.upstreams.conftest import Over
from tests.upstreams.holdings import Holdings
from tests.upstreams.serving import Server

CALL = Call("tests")
NOWHERE = {"name": "nowhere", "url": "http://127.0.0.1:9"}
Two = tuple[tuple[Holdings, Server], tuple[Holdings, Server]]


@pytest.fixture
def two() -> Iterator[Two]:
    first, second = Holdings(), Holdings()
    with Server(first.answer, "127.0.0.1") as one, Server(second.answer, "127.0.0.2") as other:
        yield (first, one), (second, other)


def declared(two: Two, **options: object) -> list[dict[str, object]]:
    return [{"name": f"u{n}", "url": server.url, **options} for n, (_, server) in enumerate(two)]


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")), st.integers(1, 4))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pages_of_tags_are_those_of_all(over: Over, two: Two, one: set[str], other: set[str], size: int) -> None:
    for (holdings, _), tags in zip(two, (one, other), strict=True):
        holdings.repositories.clear()
        holdings.image("team/app", b"layer", tags=tuple(tags))
    upstreams, found, after = over(*declared(two)), list[str](), ""
    while True:
        page = (await upstreams.tags(CALL, "team/app", after=after, limit=size)).value
        assert len(page.items) <= size
        found += page.items
        if page.next is None:
            break
        after = page.next
    assert found == sorted(one | other)
    for tag in found:  # what is listed can be pulled
        assert (await upstreams.resolve(CALL, "team/app", tag)).value


async def test_a_list_is_of_those_that_may_be_asked(over: Over, two: Two) -> None:
    """An owned prefix never leaves its owner, also in a list."""
    for (holdings, _), tag in zip(two, ("ours", "theirs"), strict=True):
        holdings.image("team/app", b"layer", tags=(tag,))
    first, second = declared(two)
    upstreams = over(first, {**second, "deny": ["team/**"]})
    assert (await upstreams.tags(CALL, "team/app")).value.items == ("ours",)
    assert two[1][1].seen == []
    with pytest.raises(NameUnknown):
        await over(*declared(two)).tags(CALL, "team/absent")


async def test_one_that_has_not_the_repository_is_left_out(over: Over, two: Two) -> None:
    two[1][0].image("team/app", b"layer", tags=("1",))
    assert (await over(*declared(two)).tags(CALL, "team/app")).value.items == ("1",)


async def test_referrers_of_all_each_once(over: Over, two: Two) -> None:
    """A signature that only one of them has is not missed."""
    image = two[0][0].image("team/app", b"layer", tags=("1",))
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest, "size": 1}
    made = []
    for number, (holdings, _) in enumerate(two):
        for name in (b"both", f"own {number}".encode()):
            made.append(holdings.image("team/app", name, subject=subject, artifactType="application/x.sig").digest)
    upstreams = over(*declared(two))
    found = await upstreams.referrers(CALL, "team/app", Digest.parse(image.digest))
    assert [str(each.digest) for each in found.value.items] == sorted(set(made)) and len(set(made)) == 3
    none = await upstreams.referrers(CALL, "team/app", Digest.parse(image.digest), artifact_type="application/y")
    assert none.value.items == ()


async def test_a_list_without_one_of_them_is_no_list_unless_declared(over: Over, two: Two) -> None:
    image = two[0][0].image("team/app", b"layer", tags=("1",))
    first, _ = declared(two)
    strict, lenient = over(first, NOWHERE), over(first, NOWHERE, on_outage="next")
    with pytest.raises(UpstreamFailed) as failed:
        await strict.tags(CALL, "team/app")
    assert failed.value.upstream == "nowhere"
    assert (await lenient.tags(CALL, "team/app")).value.items == ("1",)
    with pytest.raises(UpstreamFailed):
        await strict.referrers(CALL, "team/app", Digest.parse(image.digest))
    with pytest.raises(UpstreamFailed):
        await lenient.tags(CALL, "team/absent")
