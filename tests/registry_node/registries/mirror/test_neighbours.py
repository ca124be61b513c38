"""Copies at other nodes of the same host: used before the upstream by whoever may pull them there, and by nobody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RangeInvalid, RegistryError
from oci_wire.registry import ByteRange, Call
from registry_node.registries.local import LocalRegistry
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.registries.mirror.neighbours import MEMBER
from tests.registry_node.pushes import put_blob, put_image
from tests.registry_node.registries.mirror.conftest import Over
from tests.upstreams.holdings import Holdings
from tests.upstreams.serving import Server

BASE = os.urandom(1_500_000)
SMALL = os.urandom(2_000)
GRANTS = [{"to": "developers", "allow": ["pull"], "repositories": ["apps/**"]}]


def ana(**fields: Any) -> Call:
    """A developer, who asks this mirror itself."""
    return Call("ana", groups=frozenset({"developers"}), via=("mirror",), notes={}, **fields)


def eve() -> Call:
    return Call("eve", via=("mirror",), notes={})


class World:
    """An upstream with an image, and a node beside the mirror whose own image has a layer of it."""

    def __init__(self, folder: Path, server: Server, holdings: Holdings, over: Over) -> None:
        self.server, self.holdings, self.folder, self._over = server, holdings, folder, over
        self.local = LocalRegistry.open(folder)
        holdings.image("lib/base", BASE, SMALL, tags=("1",))
        self.mirror = self.made()

    def made(self, **neighbour: Any) -> MirrorRegistry:
        beside = {"name": "ci-eu", "data": str(self.folder), "grants": GRANTS, **neighbour}
        return self._over({"name": "hub", "url": self.server.url}, neighbours=[beside])

    def asked(self, content: bytes) -> int:
        return self.server.count("GET", str(Digest.of(content)))

    def file(self, content: bytes) -> Path:
        digest = Digest.of(content)
        return self.folder / "blobs" / "sha256" / digest.hex[:2] / digest.hex

    async def read(self, call: Call, content: bytes = BASE, span: ByteRange | None = None) -> bytes:
        stream = await self.mirror.open_blob(call, "lib/base", Digest.of(content), span)
        return await stream.read()


@pytest.fixture
async def world(tmp_path: Path, over: Over) -> Any:
    holdings = Holdings()
    with Server(holdings.answer, "127.0.0.1") as server:
        made = World(tmp_path / "ci-eu", server, holdings, over)
        with closing(made.local):
            await put_image(made.local, "apps/web", BASE, SMALL, tags=["1"])
            await made.mirror.get_manifest(ana(), "lib/base", "1")
            yield made


@pytest.mark.parametrize("content", [BASE, SMALL])
async def test_it_is_read_where_it_lies(world: World, content: bytes) -> None:
    call = ana()
    assert (await world.mirror.stat_blob(call, "lib/base", Digest.of(content))).size == len(content)
    for _ in range(2):
        assert await world.read(call, content) == content
    assert call.notes[MEMBER] == "ci-eu" and world.asked(content) == 0
    assert (world.mirror.neighbours.blobs["ci-eu"], world.mirror.neighbours.bytes["ci-eu"]) == (2, 2 * len(content))
    assert await world.read(call, content, ByteRange(7, 11)) == content[7:11]
    with pytest.raises(RangeInvalid):
        await world.read(call, content, ByteRange(len(content)))
    stream = await world.mirror.open_blob(call, "lib/base", Digest.of(content))
    assert stream.path == world.file(content), "once it is known to be right the kernel sends it"
    await stream.aclose()
    assert world.mirror.counts.blob_misses == 0


@pytest.mark.attack("A-named-not-held")
async def test_whoever_may_not_pull_it_there_gets_it_from_the_upstream_alone(world: World) -> None:
    """A manifest names what its maker does not have: also after somebody who may has pulled it here."""
    secret = os.urandom(600_000)
    await put_image(world.local, "apps/secret", secret, tags=["1"])
    world.holdings.image("lib/base", secret, tags=("evil",))
    del world.holdings.repositories["lib/base"].blobs[str(Digest.of(secret))]
    manifest = await world.mirror.get_manifest(eve(), "lib/base", "evil")
    assert Digest.of(secret) in [each.digest for each in manifest.blobs]
    assert await world.read(ana(), secret) == secret
    await settled(world.mirror)
    for ask in (world.mirror.stat_blob, world.mirror.open_blob):
        with pytest.raises(RegistryError) as refused:
            await ask(eve(), "lib/base", Digest.of(secret))
        assert refused.value.status == 404
    assert world.server.count("HEAD", str(Digest.of(secret))) == 1


@pytest.mark.attack("A-named-not-held")
async def test_what_no_manifest_here_names_is_not_looked_for(world: World) -> None:
    """Not even for those who may pull it there: it is none of this repository's."""
    secret = os.urandom(600_000)
    await put_image(world.local, "apps/secret", secret, tags=["1"])
    with pytest.raises(RegistryError) as refused:
        await world.read(ana(), secret)
    assert refused.value.status == 404


@pytest.mark.attack("A-named-not-held")
@pytest.mark.parametrize(
    "call",
    [
        eve,
        lambda: Call("", via=("mirror",), notes={}),
        lambda: Call("ana", groups=frozenset({"others"}), via=("mirror",), notes={}),
        lambda: Call("node-all", groups=frozenset({"developers"}), robot=True, via=("virtual", "mirror"), notes={}),
    ],
)
async def test_others_do_as_if_nobody_had_it(world: World, call: Callable[[], Call]) -> None:
    """Those without a grant there, and those who are not the one who wants it: a virtual's robot."""
    asked = call()
    assert await world.read(asked) == BASE
    assert MEMBER not in asked.notes and world.asked(BASE) == 1
    assert not world.mirror.neighbours.blobs


@pytest.mark.parametrize(
    "grants",
    [
        [],
        [{"to": "developers", "allow": ["push"], "repositories": ["apps/**"]}],
        [{"to": "developers", "allow": ["pull"], "repositories": ["other/**"]}],
        [{"to": "developers", "allow": ["pull"], "repositories": ["apps/**"], "tags": ["1"]}],
    ],
)
async def test_a_grant_for_less_than_the_whole_repository_is_none(world: World, grants: Any) -> None:
    world.mirror = world.made(grants=grants)
    await world.mirror.get_manifest(ana(), "lib/base", "1")
    assert await world.read(ana()) == BASE
    assert world.asked(BASE) == 1


async def test_a_repository_among_many_that_the_caller_may_read(world: World) -> None:
    for number in range(150):
        await put_blob(world.local, f"aaa/{number}", BASE)
    assert await world.read(ana()) == BASE
    assert world.asked(BASE) == 0


async def test_a_copy_that_rotted_is_not_complete_and_not_asked_again(world: World) -> None:
    for content in (BASE, SMALL):
        rotten = bytearray(content)
        rotten[len(content) // 2] ^= 1
        world.file(content).write_bytes(rotten)
    assert await world.read(ana(), SMALL) == SMALL, "before anything was sent, the upstream still can be asked"
    stream, came = await world.mirror.open_blob(ana(), "lib/base", Digest.of(BASE)), b""
    with pytest.raises(RegistryError):
        async for chunk in stream.chunks:
            came += chunk
    await stream.aclose()
    assert len(came) < len(BASE)
    assert await world.read(ana()) == BASE
    assert (world.asked(BASE), world.asked(SMALL)) == (1, 1)


@pytest.mark.parametrize("outage", ["stopped", "gone", "short", "part"])
async def test_what_cannot_be_read_there_comes_from_the_upstream(world: World, outage: str) -> None:
    span = None
    if outage == "gone":
        world.file(BASE).unlink()
    elif outage == "short":
        world.file(BASE).write_bytes(BASE[:-1])
    elif outage == "stopped":
        (world.folder / "epochs").unlink()
    else:  # a part does not prove itself
        span = ByteRange(10, 1_400_000)
    assert await world.read(ana(), BASE, span) == (BASE if span is None else BASE[10:1_400_000])
    assert world.asked(BASE) == 1
    await settled(world.mirror)
    assert await world.read(eve()) == BASE


async def test_a_client_that_leaves_leaves_nothing_open(world: World) -> None:
    for _ in range(5):
        stream = await world.mirror.open_blob(ana(), "lib/base", Digest.of(BASE))
        await anext(stream.chunks)
        await stream.aclose()
        await stream.aclose()
    assert str(world.file(BASE)) not in [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]


async def test_it_serves_while_the_upstream_is_away(world: World) -> None:
    world.server.close()
    assert await world.read(ana()) == BASE
    with pytest.raises(RegistryError) as refused:
        await world.read(eve())
    assert refused.value.status == 503


async def test_why_says_what_is_read_of_whom(world: World) -> None:
    told = await world.mirror.why(ana(), "lib/base", "1")
    assert [(each.member, each.outcome, each.reason) for each in told.asked][-1] == (
        "ci-eu",
        "cached",
        "2 of 3 blobs are read of its folder",
    )
    assert "ci-eu" not in [each.member for each in (await world.mirror.why(eve(), "lib/base", "1")).asked]


async def settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)
