"""What is said beside an answer: which member gave it, and how old it is there."""

from __future__ import annotations

from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.registry import Call
from tests.contract.content import index, push
from tests.nodes import RunningNode
from tests.registry_node.registries.virtual.conftest import Make, Members, member_of
from tests.registry_node.registries.virtual.test_over_http import push as push_over_http

STALE = {"age": "90", "warning": '110 hub "Response is Stale"'}


def stale(members: Members, name: str, age: str = "90", **notes: str) -> None:
    """From now on this member says so beside each answer."""
    registry = members[name].inner

    def noting(method: Any) -> Any:
        async def asked(call: Call, *given: Any, **named: Any) -> Any:
            found = await method(call, *given, **named)
            call.notes.update({**STALE, "age": age, **notes})
            return found

        return asked

    for method in ("resolve", "get_manifest", "stat_blob", "open_blob", "tags", "referrers", "repositories", "why"):
        setattr(registry, method, noting(getattr(registry, method)))


async def test_the_age_of_the_answer_goes_on_and_no_other_members() -> None:
    members = Members("first", "hub", hub="mirror")
    await push(members["first"], "apps/api", b"ours", tags=["1.0"])
    theirs = await push(members["hub"], "library/debian", b"layer", tags=["12"])
    stale(members, "hub")
    virtual = members.virtual(unmatched="members")
    layer = Digest.of(b"layer")
    for ask in (
        lambda call: virtual.resolve(call, "library/debian", "12"),
        lambda call: virtual.get_manifest(call, "library/debian", str(theirs.digest)),
        lambda call: virtual.stat_blob(call, "library/debian", layer),
        lambda call: virtual.open_blob(call, "library/debian", layer),
        lambda call: virtual.tags(call, "library/debian"),
    ):
        call = Call("dev")
        await ask(call)
        assert call.notes == {**STALE, "x-towpath-member": "hub"}
    call = Call("dev")
    await virtual.resolve(call, "apps/api", "1.0")
    assert call.notes == {"x-towpath-member": "first"}


async def test_a_list_is_as_old_as_its_oldest_part_and_names_who_gave_it() -> None:
    members = Members("box", "hub", "quay", "empty", hub="mirror", quay="mirror")
    subject = await push(members["box"], "apps/api", b"layer", tags=["a"])
    for name in ("hub", "quay"):
        await push(members[name], "apps/api", b"layer", name.encode(), tags=[name])
    await push(members["quay"], "apps/api", subject=subject.descriptor.to_json(), artifactType="application/sig")
    stale(members, "hub", "30")
    stale(members, "quay", "300", warning='110 quay "Response is Stale"')
    virtual = members.virtual(unmatched="members")
    call = Call("dev")
    await virtual.tags(call, "apps/api")
    assert call.notes == {
        "x-towpath-member": "box, hub, quay",
        "age": "300",
        "warning": '110 hub "Response is Stale", 110 quay "Response is Stale"',
    }
    call = Call("dev")
    await virtual.tags(call, "apps/api", limit=1)
    assert call.notes["x-towpath-member"] == "box"
    call = Call("dev")
    assert len((await virtual.referrers(call, "apps/api", subject.digest)).items) == 1
    assert call.notes["x-towpath-member"] == "quay"
    call = Call("dev")
    await virtual.repositories(call)
    assert call.notes["x-towpath-member"] == "box, hub, quay"


async def test_a_warning_of_the_virtual_stands_beside_the_members() -> None:
    members = Members("one", "hub", hub="mirror")
    await push(members["hub"], "apps/api", b"layer", tags=["1.0"])
    stale(members, "hub")
    members["one"].down()
    virtual = members.virtual(owns=[{"repositories": "apps/**", "members": ["one", "hub"]}])
    call = Call("dev")
    await virtual.resolve(call, "apps/api", "1.0")
    assert call.notes["warning"].startswith('110 hub "Response is Stale", 199 towpath "member one could not answer')


async def test_a_grant_for_some_tags_leaves_no_traces_of_the_way_to_them() -> None:
    """Whether a tag reaches a digest is asked of the member, too: that is no part of the answer."""
    members = Members("hub", hub="mirror")
    child = await push(members["hub"], "apps/api", b"layer")
    await members["hub"].inner.put_manifest(Call(), "apps/api", index(child.descriptor), tags=["1.0"])
    stale(members, "hub")
    virtual = members.virtual(unmatched="members")
    call = Call("dev")
    assert await virtual.reached(call, "apps/api", child.digest, lambda tag: tag == "1.0")
    assert call.notes == {}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_every_answer_of_a_node_over_a_mirror(make: Make) -> None:
    """The age of what a mirror could not refresh reaches the client; and each answer says whose it is."""
    box, upstream = make("box"), make("upstream")
    cached = {"upstreams": [{k: v for k, v in member_of(upstream).items() if k != "kind"}], "tag_seconds": 0}
    hub = make("hub", kind="mirror", mirror=cached)
    virtual = {"members": [member_of(box), member_of(hub, "mirror")], "unmatched": "members", "push_to": "box"}
    node: RunningNode = make("everything", kind="virtual", virtual=virtual)
    with upstream.client() as up, box.client() as own:
        digest = push_over_http(up, "library/debian", "12", b"layer")
        push_over_http(own, "apps/api", "1.0", b"ours")
    layer = Digest.of(b"layer")
    paths = [f"library/debian/{each}" for each in ("manifests/12", f"manifests/{digest}", f"blobs/{layer}")]
    with node.client("reader") as http:
        for path in paths:
            assert "warning" not in http.get(f"/v2/{path}").headers
        found = http.get(f"/v2/apps/api/referrers/{Digest.of(b'x')}")
        assert (found.status_code, found.headers["x-towpath-member"]) == (200, "box, hub")
        upstream.stop()
        for method in ("GET", "HEAD"):
            answer = http.request(method, "/v2/library/debian/manifests/12")
            assert (answer.status_code, answer.headers["x-towpath-member"]) == (200, "hub")
            assert answer.headers["age"].isdecimal() and "Response is Stale" in answer.headers["warning"]
            for path in paths[1:]:
                answer = http.request(method, f"/v2/{path}")
                assert (answer.status_code, answer.headers["x-towpath-member"]) == (200, "hub")
                assert "age" not in answer.headers
        tags = http.get("/v2/library/debian/tags/list")
        assert (tags.status_code, tags.headers["x-towpath-member"]) == (200, "hub")
        assert "warning" in tags.headers
        assert http.get("/v2/_catalog").headers["x-towpath-member"] == "box, hub"
        unchanged = http.get(f"/v2/{paths[1]}", headers={"if-none-match": f'"{digest}"'})
        assert (unchanged.status_code, unchanged.headers["x-towpath-member"]) == (304, "hub")
        past = http.get(f"/v2/{paths[2]}", headers={"range": "bytes=99-"})
        assert (past.status_code, past.headers["x-towpath-member"]) == (416, "hub")
