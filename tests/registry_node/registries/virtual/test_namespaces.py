"""``?ns=``: whose image is meant. Only members that stand for it are asked, and never more than without it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.registry import Call
from registry_node.registries.virtual.routing import way
from registry_node.settings.virtual import Virtual
from tests.contract.content import push
from tests.registry_node.registries.virtual.conftest import DEV, Make, Members, member_of
from tests.registry_node.registries.virtual.test_over_http import push as push_over_http

HOSTS = {"hub": ["docker.io", "index.docker.io"], "quay": ["quay.io"], "both": ["docker.io", "quay.io"]}
NAMES = ("inside", "hub", "quay", "both")


async def company(**settings: object) -> Members:
    members = Members(*NAMES, hub="mirror", quay="remote", both="mirror")
    for name in NAMES:
        await push(members[name], "apps/api", name.encode(), tags=["1.0", name])
    members.forget()
    return members


def meaning(ns: str) -> Call:
    return replace(DEV, ns=ns, notes={})


@pytest.mark.parametrize(
    ("ns", "answers"),
    [("", "inside"), ("docker.io", "hub"), ("Docker.IO.", "hub"), ("quay.io", "quay"), ("our.example", "inside")],
)
async def test_only_who_stands_for_it_is_asked(ns: str, answers: str) -> None:
    members = await company()
    virtual = members.virtual(stands_for=HOSTS, hosts=["our.example"], unmatched="members")
    call = meaning(ns)
    manifest = await virtual.get_manifest(call, "apps/api", "1.0")
    assert call.notes["x-towpath-member"] == answers
    layer = manifest.blobs[1].digest
    assert (await virtual.stat_blob(meaning(ns), "apps/api", layer)).size == len(answers)
    told = await virtual.why(meaning(ns), "apps/api", "1.0")
    assert told.answered == answers


async def test_lists_are_of_those_alone_and_an_unknown_one_means_nobody() -> None:
    members = await company()
    virtual = members.virtual(stands_for=HOSTS, unmatched="members")
    assert (await virtual.tags(meaning("quay.io"), "apps/api")).items == ("1.0", "both", "quay")
    assert (await virtual.repositories(meaning("docker.io"))).items == ("apps/api",)
    members.forget()
    for ask in (
        virtual.get_manifest(meaning("ghcr.io"), "apps/api", "1.0"),
        virtual.tags(meaning("ghcr.io"), "apps/api"),
        virtual.repositories(meaning("ghcr.io")),
        virtual.why(meaning("ghcr.io"), "apps/api", "1.0"),
    ):
        with pytest.raises(NameUnknown, match=r"docker\.io, index\.docker\.io, quay\.io"):
            await ask
    assert members.asked == set()


async def test_an_owned_prefix_stays_with_its_owners_whatever_is_meant() -> None:
    members = await company()
    owns = [{"repositories": "apps/**", "members": ["inside"]}]
    virtual = members.virtual(stands_for=HOSTS, owns=owns, unmatched="members")
    with pytest.raises(NameUnknown):
        await virtual.get_manifest(meaning("docker.io"), "apps/api", "1.0")
    assert members.asked == set()


async def test_another_image_of_the_same_name_does_not_stand_in() -> None:
    members = await company()
    virtual = members.virtual(stands_for=HOSTS, unmatched="members")
    with pytest.raises(ManifestUnknown):
        await virtual.get_manifest(meaning("quay.io"), "apps/api", "hub")


@given(
    st.sampled_from(("", "docker.io", "quay.io", "our.example", "ghcr.io")),
    st.sampled_from(("apps/api", "library/debian", "other")),
    st.sampled_from(("deny", "members")),
)
def test_nobody_is_asked_who_would_not_be_without_it(ns: str, repository: str, unmatched: str) -> None:
    declared = [
        {"name": name, "kind": "mirror", "url": "http://127.0.0.1:1", "hosts": HOSTS.get(name, [])} for name in NAMES
    ]
    owns = [{"repositories": "apps/**", "members": ["both", "inside"]}]
    virtual = Virtual.model_validate(
        {"members": declared, "owns": owns, "unmatched": unmatched, "hosts": ["our.example"]}
    )
    without = way(virtual, repository)
    try:
        found = way(virtual, repository, ns)
    except NameUnknown:
        assert ns == "ghcr.io"
        return
    assert set(found.members) <= set(without.members)
    assert found.owned == without.owned
    assert found.ns == (ns if ns in ("docker.io", "quay.io") else "")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_mirror_member_is_told_whose_image_is_meant(make: Make) -> None:
    """Two registries have the same name; the mirror of both is asked for the right one, also by a mirror of it."""
    first, second = make("first"), make("second")
    digests = {}
    for ns, node in (("one.example", first), ("two.example", second)):
        with node.client() as http:
            digests[ns] = push_over_http(http, "apps/api", "1.0", ns.encode())
    upstreams = [
        {**{k: v for k, v in member_of(node).items() if k != "kind"}, "hosts": [ns]}
        for ns, node in (("one.example", first), ("two.example", second))
    ]
    cache = make("cache", kind="mirror", mirror={"upstreams": upstreams})
    of_cache = {k: v for k, v in member_of(cache).items() if k != "kind"}
    outer = make("outer", kind="mirror", mirror={"upstreams": [{**of_cache, "hosts": list(digests), "front": True}]})
    member = member_of(outer, "mirror", hosts=list(digests))
    node = make("everything", kind="virtual", virtual={"members": [member], "unmatched": "members"})
    with node.client("reader") as http:
        for _ in range(2):
            for ns, digest in digests.items():
                answer = http.get("/v2/apps/api/manifests/1.0", params={"ns": ns})
                assert answer.headers["docker-content-digest"] == digest
                assert http.get("/v2/apps/api/tags/list", params={"ns": ns, "n": "5"}).json()["tags"] == ["1.0"]
                why = http.get("/_towpath/v1/r/apps/api/_/why/1.0", params={"ns": ns}).json()
                assert (why["digest"], why["rule"]) == (digest, f"unmatched: members in order, ns={ns}")
        refused = http.get("/v2/apps/api/manifests/1.0", params={"ns": "three.example"})
        assert (refused.status_code, "one.example, two.example" in refused.text) == (404, True)
