"""Lists of several members are one list: sorted, each name once, the same in pages of any size."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.errors import Unauthorized
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call, Page
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.merging import Source, merged
from tests.contract.content import image, push
from tests.registry_node.registries.virtual.conftest import DEV, Members

NAMES = st.sets(st.text("abcXYZ019._-", min_size=1, max_size=4), max_size=12)


def source(names: set[str], size: int, *, ordered: bool) -> tuple[Source[str], list[str]]:
    """A member with pages of ``size``, and what it was asked."""
    asked: list[str] = []
    shown = sorted(names) if ordered else sorted(names, reverse=True)

    async def fetch(after: str) -> Page[str]:
        asked.append(after)
        at = sum(name <= after for name in shown) if ordered else shown.index(after) + 1 if after else 0
        items = tuple(shown[at : at + size])
        return Page(items, items[-1] if at + size < len(shown) else None)

    return Source("m", fetch, str, lambda name: "X" not in name, ordered=ordered), asked


@given(st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 7))
async def test_pages_of_any_size_make_the_same_list(lists: list[tuple[set[str], bool]], size: int, limit: int) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await merged([source(names, size, ordered=kind)[0] for names, kind in lists], str, after, limit, Call())
        assert page is not None
        assert len(page.items) <= limit
        found += page.items
        after = page.next
    assert found == sorted({name for names, _ in lists for name in names if "X" not in name})


async def test_no_more_is_read_than_a_page_needs() -> None:
    sources = [source({f"{kind}{number:04}" for number in range(1000)}, 10, ordered=True) for kind in "ab"]
    page = await merged([each for each, _ in sources], str, "", 10, Call())
    assert page is not None
    assert page.next == "a0009"
    assert [len(asked) for _, asked in sources] == [2, 1]


async def test_a_list_that_is_not_in_order_or_has_no_end_is_an_outage() -> None:
    async def unordered(after: str) -> Page[str]:
        return Page(("b", "a"))

    async def endless(after: str) -> Page[str]:
        return Page((), f"{after}x"[-5:] if len(after) < 5 else "y" + after[1:])

    for fetch, ordered in ((unordered, True), (endless, True), (endless, False)):
        with pytest.raises(MemberFailed):
            await merged([Source("m", fetch, str, bool, ordered=ordered)], str, "", 5, Call())


async def test_tags_and_referrers_of_all_members_each_once() -> None:
    members = Members("one", "two", "far", far="remote")
    shared = await push(members["one"], "apps/api", b"shared", tags=["a", "b"])
    await push(members["two"], "apps/api", b"shared", tags=["b", "c"])
    await push(members["far"], "apps/api", b"far", tags=["B", "d"])
    virtual = members.virtual(unmatched="members")
    first = await virtual.tags(DEV, "apps/api", limit=3)
    assert (first.items, first.next) == (("B", "a", "b"), "b")
    assert (await virtual.tags(DEV, "apps/api", after="b", limit=3)).items == ("c", "d")
    signatures = []
    for name, kind in (("one", "sig"), ("two", "sig"), ("two", "sbom")):
        fields = {"subject": shared.descriptor.to_json(), "artifactType": f"application/{kind}"}
        manifest = image(config=json.dumps(kind).encode(), **fields)
        registry: MemoryRegistry = members[name].inner
        await push(registry, "apps/api", config=json.dumps(kind).encode(), **fields)
        signatures.append(manifest.digest)
    found = await virtual.referrers(DEV, "apps/api", shared.digest)
    assert [each.digest for each in found.items] == sorted(set(signatures), key=str)
    typed = await virtual.referrers(DEV, "apps/api", shared.digest, artifact_type="application/sbom")
    assert len(typed.items) == 1
    members["two"].down()
    with pytest.raises(MemberFailed):
        await virtual.referrers(DEV, "apps/api", shared.digest)


async def test_a_foreign_registry_without_a_catalog_is_left_out_and_said() -> None:
    members = Members("box", "hub", hub="remote")
    await push(members["box"], "apps/api", b"layer")
    virtual = members.virtual(unmatched="members")
    members["hub"].down(Unauthorized("not for you"))
    call = Call("dev")
    assert (await virtual.repositories(call)).items == ("apps/api",)
    assert "hub lists no repositories" in call.notes["warning"]
    members["hub"].down()
    with pytest.raises(MemberFailed):
        await virtual.repositories(call)
