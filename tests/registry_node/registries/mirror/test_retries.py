"""What follows a fill that went wrong: who is asked next, what a client is told, what is left of it and for how long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.registries.mirror.parts import Part, Parts, Sought
from registry_node.storage.incoming import Incoming
from registry_node.storage.store import Store
from tests.registry_node.pushes import put_image
from tests.registry_node.registries.mirror.conftest import MakeMirror, Over
from tests.registry_node.registries.mirror.double import Upstream, cut_after, flipped
from tests.upstreams import faults
from tests.upstreams.holdings import Holdings
from tests.upstreams.lying import LyingUpstream, Plan
from tests.upstreams.serving import Server

SMALL, LARGE = os.urandom(20_000), os.urandom(1_500_000)
CALL = Call("tests")
Two = tuple[LyingUpstream, Server]


@pytest.fixture
def two() -> Iterator[Two]:
    """The first one lies about blobs, the second one has the same and does not."""
    honest = Holdings()
    plan = Plan(among=[faults.other_bytes], slow=0, kinds=["blobs"])
    with LyingUpstream(plan) as liar, Server(honest.answer, "127.0.0.9") as other:
        for each in (honest, liar.holdings):
            each.image("team/app", SMALL, LARGE, tags=("1",))
        yield liar, other


async def settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


async def read(mirror: MirrorRegistry, content: bytes) -> bytes:
    return await (await mirror.open_blob(CALL, "team/app", Digest.of(content))).read()


@pytest.mark.attack("A-cache-poisoning")
async def test_the_next_upstream_is_asked_at_once(over: Over, two: Two) -> None:
    """A small blob before anything was sent, a large one with the client's next try."""
    liar, other = two
    mirror = over({"name": "liar", "url": liar.url}, {"name": "honest", "url": other.url})
    await mirror.get_manifest(CALL, "team/app", "1")
    assert await read(mirror, SMALL) == SMALL
    with pytest.raises(RegistryError):
        await read(mirror, LARGE)
    assert await read(mirror, LARGE) == LARGE
    await settled(mirror)
    for content in (SMALL, LARGE):
        digest = str(Digest.of(content))
        assert (liar.server.count("GET", digest), other.count("GET", digest)) == (1, 1)


@pytest.mark.parametrize("joiners", [1, 20])
async def test_wrong_bytes_are_502_with_the_upstream_and_the_reason(over: Over, two: Two, joiners: int) -> None:
    mirror = over({"name": "liar", "url": two[0].url})
    await mirror.get_manifest(CALL, "team/app", "1")
    answers = await asyncio.gather(*(read(mirror, SMALL) for _ in range(joiners)), return_exceptions=True)
    for each in answers:
        assert isinstance(each, RegistryError)
        assert (each.status, each.code, each.detail) == (
            502,
            "BAD_GATEWAY",
            {"upstream": "liar", "reason": "bad-answer"},
        )
    asked = two[0].server.count("GET", str(Digest.of(SMALL)))
    assert asked == 2 if joiners == 1 else asked < joiners, "once more each, most of them together"


async def test_both_givers_of_mixed_bytes_are_blamed(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror = mirrored()
    await put_image(upstream.registry, "team/app", LARGE, tags=["1"])
    upstream.bend = cut_after(700_000)
    stream = await mirror.open_blob(CALL, "team/app", Digest.of(LARGE))
    upstream.name, upstream.bend = "second", flipped
    with pytest.raises(RegistryError):
        await stream.read()
    await settled(mirror)
    assert sorted(upstream.blamed) == ["hub", "second"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "cache")
    yield opened
    opened.close()


def a_part(store: Store, content: bytes) -> Part:
    incoming = Incoming.new(store.files.temp_path(), "sha256")
    incoming.write(content)
    return Part(incoming)


async def test_parts_go_after_a_while_also_when_nobody_asks(store: Store) -> None:
    parts, sought = Parts(store, seconds=0.05), Sought(Digest.of(b"x"), "hub")
    part = a_part(store, b"abc")
    await parts.keep(sought, part)
    assert parts.bytes == 3
    for _ in range(1000):
        if not part.incoming.path.exists():
            break
        await asyncio.sleep(0.01)
    assert not part.incoming.path.exists() and parts.bytes == 0 and parts.take(sought) is None


async def test_a_part_that_was_taken_does_not_go(store: Store) -> None:
    parts, sought = Parts(store, seconds=0.02), Sought(Digest.of(b"x"), "hub")
    part = a_part(store, b"abc")
    await parts.keep(sought, part)
    assert parts.take(sought) is part
    await asyncio.sleep(0.1)
    assert part.incoming.path.exists()


async def test_so_many_parts_and_one_of_a_blob(store: Store) -> None:
    parts = Parts(store, most=2)
    made = [a_part(store, bytes(n + 1)) for n in range(4)]
    sought = [Sought(Digest.of(bytes([n])), "hub") for n in (0, 1, 1, 2)]
    for each, part in zip(sought, made, strict=True):
        await parts.keep(each, part)
    assert [part.incoming.path.exists() for part in made] == [False, False, True, True]
    assert parts.bytes == 3 + 4
    assert parts.take(Sought(sought[2].digest, "another")) is None
    await parts.drop_all()
    assert not any(part.incoming.path.exists() for part in made)
