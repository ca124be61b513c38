"""A member that is down is never taken for one that does not have it; and who may stand in for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    Denied,
    DigestInvalid,
    Internal,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from registry_node.registries.virtual.failed import MemberFailed
from tests.contract.content import push
from tests.registry_node.registries.virtual.conftest import DEV, Members

OUTAGES: tuple[RegistryError, ...] = (
    Unreachable("10.0.0.7: connection refused"),
    Unavailable("10.0.0.7 drains"),
    Internal("10.0.0.7 broke"),
    TooManyRequests("10.0.0.7 is busy", retry_after=7),
    Unauthorized("10.0.0.7 says who are you"),
    Denied("10.0.0.7 says no"),
    DigestInvalid("10.0.0.7 sent other bytes"),
)


@pytest.mark.attack("A-outage-absent")
@pytest.mark.parametrize("error", OUTAGES, ids=lambda each: type(each).__name__)
async def test_an_outage_is_not_a_404_and_a_later_member_does_not_stand_in(error: RegistryError) -> None:
    members = Members("one", "two")
    await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    members["one"].down(error)
    members.forget()
    virtual = members.virtual(unmatched="members")
    for ask in (virtual.resolve, virtual.get_manifest):
        with pytest.raises(MemberFailed) as caught:
            await ask(DEV, "apps/api", "1.0")
        not_let_in = isinstance(error, Unauthorized | Denied)
        assert (caught.value.status, caught.value.member) == (502 if not_let_in else 503, "one")
        assert "10.0.0.7" not in caught.value.message + str(caught.value.detail)
        assert (caught.value.retry_after is None) == not_let_in, "trying again puts no login right"
    assert members.asked == {"one"}, "what it has says nothing about what the tag means"


@pytest.mark.parametrize("error", OUTAGES, ids=lambda each: type(each).__name__)
async def test_a_digest_proves_itself(error: RegistryError) -> None:
    members = Members("one", "two")
    pushed = await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    members["one"].down(error)
    virtual = members.virtual(unmatched="members")
    assert (await virtual.get_manifest(DEV, "apps/api", str(pushed.digest))).digest == pushed.digest
    assert DEV.notes["x-towpath-member"] == "two"
    layer = Digest.of(b"layer")
    assert (await virtual.stat_blob(DEV, "apps/api", layer)).size == 5
    assert await (await virtual.open_blob(DEV, "apps/api", layer)).read() == b"layer"
    for ask in (virtual.stat_blob, virtual.open_blob):
        with pytest.raises(MemberFailed):  # the one that is down may have it
            await ask(DEV, "apps/api", Digest.of(b"nowhere"))


async def test_owners_of_one_prefix_stand_in_for_one_another_and_say_so() -> None:
    members = Members("one", "two", "three")
    pushed = await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    await push(members["three"], "apps/api", b"a stranger's", tags=["1.0", "2.0"])
    virtual = members.virtual(owns=[{"repositories": "apps/**", "members": ["one", "two"]}], unmatched="members")
    members["one"].down()
    members.forget()
    DEV.notes.clear()
    assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == pushed.digest
    assert "member one could not answer" in DEV.notes["warning"]
    with pytest.raises(MemberFailed):
        await virtual.resolve(DEV, "apps/api", "2.0")
    assert "three" not in members.asked
    with pytest.raises(MemberFailed):  # no list is shorter because somebody is down
        await virtual.tags(DEV, "apps/api")


async def test_a_member_that_says_nothing_is_down_after_a_while() -> None:
    members = Members("one", "two")

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    members["one"].inner.resolve = never
    with pytest.raises(MemberFailed, match="no answer within"):
        await members.virtual(unmatched="members", seconds=0.05).resolve(DEV, "apps/api", "1.0")


async def test_not_found_goes_on_and_absent_everywhere_is_a_404() -> None:
    members = Members("one", "two")
    pushed = await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    virtual = members.virtual(unmatched="members")
    assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == pushed.digest
    with pytest.raises(ManifestUnknown):
        await virtual.resolve(DEV, "apps/api", "2.0")
    with pytest.raises(NameUnknown):
        await virtual.resolve(DEV, "apps/none", "1.0")
    with pytest.raises(BlobUnknown):
        await virtual.stat_blob(DEV, "apps/api", Digest.of(b"none"))
    with pytest.raises(NameUnknown):
        await virtual.tags(DEV, "apps/none")


async def test_why_tells_the_whole_story_of_an_outage() -> None:
    members = Members("one", "two", "three")
    virtual = members.virtual(owns=[{"repositories": "apps/**", "members": ["one", "two"]}])
    await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    members["one"].down()
    told = await virtual.why(DEV, "apps/api", "1.0")
    assert (told.rule, told.answered) == ("owns apps/**", "two")
    assert [(each.member, each.outcome) for each in told.asked] == [
        ("one", "failed"),
        ("two", "answered"),
        ("three", "not asked"),
    ]
    assert told.asked[2].reason == "owns apps/**"
    nobody = await virtual.why(DEV, "other/api", "1.0")
    assert (nobody.rule, nobody.answered) == ("unmatched: deny", None)


async def test_why_knows_layers_and_manifests_by_their_digests() -> None:
    members = Members("one", "two")
    image = await push(members["two"], "apps/api", b"layer", tags=["1.0"])
    virtual = members.virtual(unmatched="members")
    for digest in (image.digest, Digest.of(b"layer")):
        told = await virtual.why(DEV, "apps/api", str(digest))
        assert (told.answered, told.digest) == ("two", str(digest))
        assert [(each.member, each.outcome) for each in told.asked] == [("one", "absent"), ("two", "answered")]
    nobody = await virtual.why(DEV, "apps/api", str(Digest.of(b"nowhere")))
    assert (nobody.answered, nobody.digest) == (None, None)
    assert [each.outcome for each in nobody.asked] == ["absent", "absent"]


async def test_the_newest_tag_cannot_be_told_while_a_local_member_is_down() -> None:
    members = Members("one", "two", "hub", hub="remote")
    for name in ("two", "one", "hub"):
        newest = await push(members[name], "apps/api", name.encode(), tags=["1.0"])
        if name == "one":
            ours = newest
    virtual = members.virtual(unmatched="members", resolve="newest")
    assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == ours.digest
    told = await virtual.why(DEV, "apps/api", "1.0")
    assert {each.member: each.outcome for each in told.asked} == {
        "one": "answered",
        "two": "older",
        "hub": "not asked",
    }
    members["one"].down()
    with pytest.raises(MemberFailed, match="one"):
        await virtual.resolve(DEV, "apps/api", "1.0")
