"""Whoever makes manifests can name what they do not have. A digest is no right to its bytes: what a mirror holds of one
upstream is not given to those who may pull what another upstream made."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from oci_wire.registry import Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from tests import postgresql
from tests.registry_node.registries.mirror.conftest import Over
from tests.upstreams.holdings import LAYER, Holdings, Image, blob, described
from tests.upstreams.serving import Reply, Request, Server

pytestmark = pytest.mark.attack("A-named-not-held")
SECRET = os.urandom(2_000_000)
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
CALL = Call("eve")


class Evil:
    """A registry of the attacker's: it names whatever it likes, and says that it has it."""

    def __init__(self) -> None:
        self.holdings = Holdings()
        self.claims: dict[str, int] = {}

    def names(self, secret: Image, media_type: str = LAYER) -> Image:
        """An image of which the secret's layer is one, as if by right."""
        layer = {
            **described(SECRET, media_type),
            **({"urls": ["http://evil.example/x"]} if media_type == FOREIGN else {}),
        }
        made = self.holdings.image("evil/app", b"own", layers=[layer], tags=("1",))
        self.claims[str(Digest.of(SECRET))] = len(SECRET)
        return made

    def answer(self, request: Request) -> Reply:
        digest = request.path.rpartition("/")[2]
        if digest in self.claims and request.method == "HEAD":
            return Reply(200, {"content-length": str(self.claims[digest]), "docker-content-digest": digest})
        if digest in self.claims:
            return blob(request, bytes(self.claims[digest]), digest)
        return self.holdings.answer(request)


class World:
    def __init__(self, corp: Holdings, evil: Evil, servers: tuple[Server, Server], over: Over, **options: Any) -> None:
        self.corp, self.evil, self.corp_server = corp, evil, servers[0]
        self.secret = corp.image("corp/app", SECRET, tags=("1",))
        self.mirror = over(
            {"name": "corp", "url": servers[0].url, "repositories": ["corp/**"]},
            {"name": "evil", "url": servers[1].url, "repositories": ["evil/**"]},
            **options,
        )

    async def theft(self, digest: str) -> bytes:
        """What the attacker's repository gives of it."""
        content = b""
        try:
            stream = await self.mirror.open_blob(CALL, "evil/app", Digest.parse(digest))
            async with stream:
                async for chunk in stream.chunks:
                    content += chunk
        except RegistryError:
            pass
        return content


@pytest.fixture
async def world(over: Over) -> Any:
    corp, evil = Holdings(), Evil()
    with Server(corp.answer, "127.0.0.1") as first, Server(evil.answer, "127.0.0.2") as second:
        yield World(corp, evil, (first, second), over)


async def settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


async def read(mirror: MirrorRegistry, repository: str, content: bytes) -> bytes:
    return await (await mirror.open_blob(CALL, repository, Digest.of(content))).read()


@pytest.mark.parametrize("media_type", [LAYER, FOREIGN])
@pytest.mark.parametrize("named", [True, False])
async def test_a_cached_blob_of_another_upstream(world: World, media_type: str, named: bool) -> None:
    await world.mirror.get_manifest(CALL, "corp/app", "1")
    assert await read(world.mirror, "corp/app", SECRET) == SECRET
    await settled(world.mirror)
    world.evil.names(world.secret, media_type)
    if named:
        await world.mirror.get_manifest(CALL, "evil/app", "1")
    stolen = await world.theft(str(Digest.of(SECRET)))
    assert not SECRET.startswith(stolen[:64]) or not stolen
    await settled(world.mirror)
    assert await read(world.mirror, "corp/app", SECRET) == SECRET


async def test_a_blob_that_is_on_its_way_from_another_upstream(world: World) -> None:
    """Also of what has come of one that stopped."""
    world.evil.names(world.secret)
    for tag in ("corp/app", "evil/app"):
        await world.mirror.get_manifest(CALL, tag, "1")
    stream = await world.mirror.open_blob(CALL, "corp/app", Digest.of(SECRET))
    await anext(stream.chunks)
    stolen = [await world.theft(str(Digest.of(SECRET)))]
    await stream.aclose()
    await settled(world.mirror)
    stolen.append(await world.theft(str(Digest.of(SECRET))))
    assert all(not each or not SECRET.startswith(each[:64]) for each in stolen)


async def test_a_cached_manifest_of_another_upstream(world: World) -> None:
    await world.mirror.get_manifest(CALL, "corp/app", "1")
    child = {"mediaType": OCI_MANIFEST, "digest": world.secret.digest, "size": len(world.secret.content)}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    world.evil.holdings.manifest("evil/app", index, OCI_INDEX, ("1",))
    await world.mirror.get_manifest(CALL, "evil/app", "1")
    with pytest.raises(RegistryError):
        await world.mirror.get_manifest(CALL, "evil/app", world.secret.digest)


async def test_one_upstreams_repositories_share_what_it_named_in_both(world: World) -> None:
    """The base of two images comes once."""
    other = world.corp.image("corp/other", SECRET, b"more", tags=("1",))
    for repository in ("corp/app", "corp/other"):
        await world.mirror.get_manifest(CALL, repository, "1")
        assert await read(world.mirror, repository, SECRET) == SECRET
        await settled(world.mirror)
    assert world.corp_server.count("GET", str(Digest.of(SECRET))) == 1
    assert str(Digest.of(SECRET)) in other.blobs


async def test_two_of_them_that_pull_at_once_wait_for_one_fill(world: World) -> None:
    world.corp.image("corp/other", SECRET, tags=("1",))
    for repository in ("corp/app", "corp/other"):
        await world.mirror.get_manifest(CALL, repository, "1")
    both = await asyncio.gather(*(read(world.mirror, name, SECRET) for name in ("corp/app", "corp/other")))
    assert both == [SECRET, SECRET]
    assert world.corp_server.count("GET", str(Digest.of(SECRET))) == 1


@pytest.mark.slow
async def test_the_same_over_postgresql(over: Over) -> None:
    corp, evil = Holdings(), Evil()
    with (
        postgresql.server() as cluster,
        Server(corp.answer, "127.0.0.1") as first,
        Server(evil.answer, "127.0.0.2") as second,
    ):
        world = World(corp, evil, (first, second), over, dsn=cluster.database())
        await test_one_upstreams_repositories_share_what_it_named_in_both(world)
        for media_type in (LAYER, FOREIGN):
            evil.names(world.secret, media_type)
            await world.mirror.get_manifest(CALL, "evil/app", "1")
            stolen = await world.theft(str(Digest.of(SECRET)))
            assert not stolen or not SECRET.startswith(stolen[:64])
        await settled(world.mirror)
        await world.mirror.aclose()
        world.mirror.close()


@pytest.fixture
def bare() -> Iterator[Server]:
    """Holds only the manifest of an image whose layer lies elsewhere."""
    holdings = Holdings()
    layer = {**described(SECRET, FOREIGN), "urls": ["http://layers.example/ok/base"]}
    holdings.image("corp/app", layers=[layer], tags=("1",))
    with Server(holdings.answer, "127.0.0.1") as server:
        yield server


async def test_a_foreign_layer_that_nobody_allows_is_not_there(bare: Server, over: Over) -> None:
    mirror = over({"name": "corp", "url": bare.url})
    await mirror.get_manifest(CALL, "corp/app", "1")
    with pytest.raises(RegistryError) as refused:
        await read(mirror, "corp/app", SECRET)
    assert refused.value.status == 404
