"""Two upstreams behind one name: what one of them only names, and the other one gives, is not shared as the first one's.

``open`` is where the attacker pushes; ``vault`` holds the secret, below a name that both are asked for. Nobody who pulls
``evil/app`` may pull ``shared/app``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from tests import postgresql
from tests.registry_node.pushes import put_image
from tests.registry_node.registries.mirror.conftest import MakeMirror, Over
from tests.registry_node.registries.mirror.double import Upstream, cut_after
from tests.upstreams.holdings import LAYER, Holdings, described
from tests.upstreams.serving import Server

SECRET, SMALL = os.urandom(2_000_000), os.urandom(20_000)
CALL = Call("eve")


@dataclass
class Two:
    open: Server
    vault: Server
    named: Holdings  # of ``open``

    def mirror(self, over: Over, **options: Any) -> MirrorRegistry:
        return over(
            {"name": "open", "url": self.open.url, "repositories": ["shared/**", "evil/**"]},
            {"name": "vault", "url": self.vault.url, "repositories": ["shared/**"]},
            **options,
        )


@pytest.fixture
def two() -> Iterator[Two]:
    named, vault = Holdings(), Holdings()
    for name in ("shared/app", "shared/other", "evil/app"):
        named.image(name, b"own", layers=[described(SECRET, LAYER), described(SMALL, LAYER)], tags=("1",))
    for name in ("shared/app", "shared/other"):
        vault.image(name, SECRET, SMALL, tags=("private",))
    with Server(named.answer, "127.0.0.1") as first, Server(vault.answer, "127.0.0.2") as second:
        yield Two(first, second, named)


async def settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


async def read(mirror: MirrorRegistry, repository: str, content: bytes) -> bytes:
    return await (await mirror.open_blob(CALL, repository, Digest.of(content))).read()


async def theft(mirror: MirrorRegistry, content: bytes) -> bytes:
    """What the attacker's repository gives of it, and HEAD says."""
    stolen = b""
    with suppress(RegistryError):
        stolen += b"%d" % (await mirror.stat_blob(CALL, "evil/app", Digest.of(content))).size
    with suppress(RegistryError):
        stream = await mirror.open_blob(CALL, "evil/app", Digest.of(content))
        async with stream:
            async for chunk in stream.chunks:
                stolen += chunk
    return stolen


async def manifests(mirror: MirrorRegistry, *repositories: str) -> None:
    for each in repositories:
        await mirror.get_manifest(CALL, each, "1")


@pytest.mark.attack("A-named-given-elsewhere")
@pytest.mark.parametrize("content", [SECRET, SMALL], ids=["large", "small"])
async def test_what_another_upstream_gave_is_not_had_by_naming_it(two: Two, over: Over, content: bytes) -> None:
    mirror = two.mirror(over)
    await manifests(mirror, "shared/app", "evil/app")
    assert await read(mirror, "shared/app", content) == content
    await settled(mirror)
    assert await theft(mirror, content) == b""
    assert await read(mirror, "shared/app", content) == content
    assert two.vault.count("GET", str(Digest.of(content))) == 1, "it is kept where it may be had"


@pytest.mark.attack("A-named-given-elsewhere")
@pytest.mark.parametrize("content", [SECRET, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("first", ["shared/app", "evil/app"])
async def test_while_it_is_on_its_way(two: Two, over: Over, content: bytes, first: str) -> None:
    mirror = two.mirror(over)
    await manifests(mirror, "shared/app", "evil/app")
    asking = [read(mirror, "shared/app", content), theft(mirror, content)]
    found = await asyncio.gather(*(asking if first == "shared/app" else reversed(asking)))
    assert sorted(found) == sorted([content, b""])
    await settled(mirror)
    assert await theft(mirror, content) == b""


@pytest.mark.attack("A-named-given-elsewhere")
async def test_what_has_come_of_one_that_stopped(two: Two, over: Over) -> None:
    mirror = two.mirror(over, finish_share=1)
    await manifests(mirror, "shared/app", "evil/app")
    stream = await mirror.open_blob(CALL, "shared/app", Digest.of(SECRET))
    await stream.aclose()
    await settled(mirror)
    assert await theft(mirror, SECRET) == b""
    assert await read(mirror, "shared/app", SECRET) == SECRET


async def test_many_who_ask_for_what_only_another_upstream_has_are_one(two: Two, over: Over) -> None:
    mirror = two.mirror(over)
    await manifests(mirror, "shared/app")
    found = await asyncio.gather(*(read(mirror, "shared/app", SECRET) for _ in range(20)))
    assert found == [SECRET] * 20
    asked = str(Digest.of(SECRET))
    assert (two.open.count("GET", asked), two.vault.count("GET", asked)) == (1, 1)


async def test_two_repositories_that_wait_for_it_get_it_each_from_who_has_it(two: Two, over: Over) -> None:
    mirror = two.mirror(over)
    names = ("shared/app", "shared/other")
    await manifests(mirror, *names)
    assert await asyncio.gather(*(read(mirror, each, SECRET) for each in names)) == [SECRET, SECRET]
    await settled(mirror)
    assert two.vault.count("GET", str(Digest.of(SECRET))) == 2


async def test_what_its_upstream_gave_is_shared_still(two: Two, over: Over) -> None:
    two.named.image("evil/other", SECRET, tags=("1",))
    two.named.image("evil/app", SECRET, tags=("1",))
    mirror = two.mirror(over)
    await manifests(mirror, "evil/app", "evil/other")
    assert await read(mirror, "evil/app", SECRET) == SECRET
    await settled(mirror)
    assert await read(mirror, "evil/other", SECRET) == SECRET
    assert two.open.count("GET", str(Digest.of(SECRET))) == 1


@pytest.mark.attack("A-named-given-elsewhere")
async def test_bytes_of_two_upstreams_are_nobodys_to_share(mirrored: MakeMirror, upstream: Upstream) -> None:
    """One broke off, the other one went on: kept for the repository for which both were asked."""
    mirror = mirrored()
    for name in ("team/app", "team/other"):
        await put_image(upstream.registry, name, SECRET, tags=["1"])
        await mirror.get_manifest(CALL, name, "1")
    upstream.bend = cut_after(700_000)
    stream = await mirror.open_blob(CALL, "team/app", Digest.of(SECRET))
    upstream.name = "second"
    assert await stream.read() == SECRET
    await settled(mirror)
    asked = upstream.asked["blob"]
    assert await read(mirror, "team/app", SECRET) == SECRET and upstream.asked["blob"] == asked
    assert await read(mirror, "team/other", SECRET) == SECRET and upstream.asked["blob"] == asked + 1


@pytest.mark.slow
async def test_the_same_over_postgresql(two: Two, over: Over) -> None:
    with postgresql.server() as cluster:
        mirror = two.mirror(over, dsn=cluster.database())
        await manifests(mirror, "shared/app", "evil/app")
        assert await read(mirror, "shared/app", SECRET) == SECRET
        await settled(mirror)
        assert await theft(mirror, SECRET) == b""
        await mirror.aclose()
        mirror.close()
