"""What a node that leaves holds: by tag and by digest, and what of it no sister has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from oci_wire.errors import Unreachable
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call, once
from sites.rollout.canary import Gate, _push_and_pull, canary
from sites.rollout.contents import Content, content_of
from tests.contract.content import push
from tests.nodes import SECRETS, running

CALL = Call()


class Nodes:
    """A gate whose registries are these, by URL."""

    def __init__(self, **registries: MemoryRegistry) -> None:
        self.registries = registries

    @asynccontextmanager
    async def registry(self, url: str) -> AsyncIterator[MemoryRegistry]:
        yield self.registries[url]


async def asked(own: MemoryRegistry, **sisters: MemoryRegistry) -> Content:
    gate = cast(Gate, Nodes(own=own, **sisters))
    return await content_of(gate, "own", {name: name for name in sisters}, node="leaves")


async def test_a_node_without_any_image_is_empty() -> None:
    assert (await asked(MemoryRegistry())).empty
    found = await asked(MemoryRegistry(), sister=MemoryRegistry())
    assert (found.empty, str(found)) == (True, "holds no images")


async def test_an_image_without_a_tag_is_content() -> None:
    own = MemoryRegistry()
    await push(own, "apps/api", b"layer")
    found = await asked(own)
    assert not found.empty
    assert (found.repositories, found.tags, found.manifests, found.rare) == (1, 0, 1, 1)
    assert str(found) == "holds 0 tags, none without another copy; 1 manifest in all, 1 without another copy"


async def test_what_a_sister_has_by_digest_has_another_copy() -> None:
    own, sister = MemoryRegistry(), MemoryRegistry()
    await push(own, "apps/api", b"shared", tags=["1.0"])
    await push(own, "apps/api", b"lone")
    await push(own, "apps/api", b"elsewhere")
    await push(sister, "apps/api", b"shared")
    await push(sister, "apps/other", b"elsewhere")
    found = await asked(own, sister=sister)
    assert (found.tags, found.alone, found.manifests, found.rare) == (1, 1, 3, 2), "another repository is no copy"


async def test_what_was_deleted_is_not_held() -> None:
    own = MemoryRegistry()
    gone = await push(own, "apps/api", b"gone")
    await own.delete_manifest(CALL, "apps/api", gone.digest)
    assert (await asked(own)).empty
    await push(own, "apps/api", b"gone")
    assert (await asked(own)).manifests == 1, "it came back"


async def test_what_a_sister_had_and_deleted_is_no_copy() -> None:
    own, sister = MemoryRegistry(), MemoryRegistry()
    made = await push(own, "apps/api", b"layer")
    await push(sister, "apps/api", b"layer")
    assert (await asked(own, sister=sister)).rare == 0
    await sister.delete_manifest(CALL, "apps/api", made.digest)
    assert (await asked(own, sister=sister)).rare == 1


async def test_what_a_health_gate_left_is_nothing() -> None:
    own = MemoryRegistry()
    for node, there in (("leaves", True), ("another", False)):
        left = canary(node)
        for blob, held in zip(left.blobs, (b"{}", f'{{"canary":"{node}"}}'.encode()), strict=True):
            await own.put_blob(CALL, "towpath/canary", blob, once(held))
        await own.put_manifest(CALL, "towpath/canary", left)
        assert (await asked(own)).empty is there


async def test_a_node_that_no_longer_knows_what_came_may_hold_anything() -> None:
    own = MemoryRegistry(keep_events=1)
    for content in (b"a", b"b", b"c"):
        await push(own, "apps/api", content)
    found = await asked(own)
    assert (found.empty, bool(found.unlisted)) == (False, True)
    assert "what it holds without a tag is not known" in str(found)


async def test_a_sister_that_no_longer_knows_what_came_has_nothing() -> None:
    own, sister = MemoryRegistry(), MemoryRegistry(keep_events=1)
    await push(own, "apps/api", b"layer")
    for content in (b"layer", b"a", b"b"):
        await push(sister, "apps/api", content)
    found = await asked(own, sister=sister)
    assert (found.rare, found.silent) == (1, ("sister",))


async def test_a_node_that_cannot_be_asked_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    own = MemoryRegistry()

    async def down(*_: Any, **__: Any) -> Any:
        raise Unreachable("nobody answers")

    monkeypatch.setattr(own, "repositories", down)
    found = await asked(own)
    assert (found.empty, str(found)) == (False, "could not be asked what it holds (nobody answers)")


async def test_real_nodes_tell_of_images_without_a_tag_and_the_gate_leaves_none(tmp_path: Path) -> None:
    gate = Gate(SECRETS["towpath-engine"])
    with running(tmp_path / "leaves", scope="apps") as leaves, running(tmp_path / "stays", scope="apps") as stays:
        async with gate.registry(leaves.url) as own, gate.registry(stays.url) as sister:
            await _push_and_pull(own, "towpath/canary", "leaves")
            assert (await content_of(gate, leaves.url, {"stays": stays.url}, node="leaves")).empty
            await push(own, "apps/api", b"shared")
            await push(sister, "apps/api", b"shared")
            gone = await push(own, "apps/api", b"gone")
            await push(own, "apps/api", b"lone")
            await own.delete_manifest(CALL, "apps/api", gone.digest)
        found = await content_of(gate, leaves.url, {"stays": stays.url}, node="leaves")
    assert (found.tags, found.manifests, found.rare, found.silent) == (0, 2, 1, ())
