"""Layers that lie elsewhere, through a mirror: kept like any other, verified like any other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from random import Random

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from oci_wire.registry import ByteRange, Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from tests.registry_node.registries.mirror.conftest import Over
from tests.upstreams import faults
from tests.upstreams.holdings import LAYER, Holdings, blob, described
from tests.upstreams.internet import Internet
from tests.upstreams.serving import Reply, Request, Server

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
BASE = os.urandom(2_000_000)
DIGEST = Digest.of(BASE)
CALL = Call("tests")
PLACE = "layers.example/ok/base"
ALLOW = ["http://layers.example/ok/**"]


def honest(request: Request) -> Reply:
    return blob(request, BASE, str(DIGEST))


@pytest.fixture(params=[FOREIGN, LAYER])
def origin(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Holds manifests only; any layer may have urls, also one that registries are to hold."""
    holdings = Holdings()
    layer = {**described(BASE, request.param), "urls": ["http://elsewhere.example/x", f"http://{PLACE}"]}
    for name in ("win/base", "win/other"):
        holdings.image(name, layers=[layer], tags=("1",))
    with Server(holdings.answer, "127.0.0.1") as server:
        yield server


async def settled(mirror: MirrorRegistry) -> None:
    while mirror.fills.running:
        await asyncio.sleep(0.01)


async def pulled(mirror: MirrorRegistry, repository: str = "win/base", span: ByteRange | None = None) -> bytes:
    await mirror.get_manifest(CALL, repository, "1")
    return await (await mirror.open_blob(CALL, repository, DIGEST, span)).read()


async def test_it_is_fetched_once_and_kept(origin: Server, over: Over, internet: Internet) -> None:
    internet.pages[PLACE] = honest
    mirror = over({"name": "origin", "url": origin.url}, foreign_layers=ALLOW)
    await mirror.get_manifest(CALL, "win/base", "1")
    assert (await mirror.stat_blob(CALL, "win/base", DIGEST)).size == len(BASE)
    assert await asyncio.gather(*(pulled(mirror) for _ in range(20))) == [BASE] * 20
    await settled(mirror)
    assert internet.server.count("GET") == 1 and internet.server.count("HEAD") == 1
    internet.pages.clear()
    assert await pulled(mirror) == BASE
    assert await pulled(mirror, span=ByteRange(5, 9)) == BASE[5:9]
    assert await mirror.reached(CALL, "win/base", DIGEST, lambda tag: tag == "1")
    assert {each.partition("/")[0] for each in internet.asked} == {"layers.example"}


async def test_what_came_for_one_repository_is_fetched_again_for_another(
    origin: Server, over: Over, internet: Internet
) -> None:
    """Registries let anybody name a foreign layer: only who has it can give it."""
    internet.pages[PLACE] = honest
    mirror = over({"name": "origin", "url": origin.url}, foreign_layers=ALLOW)
    assert await pulled(mirror) == BASE
    await settled(mirror)
    internet.pages.clear()
    with pytest.raises(RegistryError) as refused:
        await pulled(mirror, "win/other")
    assert refused.value.status == 404


async def test_it_goes_on_where_it_was_cut(origin: Server, over: Over, internet: Internet) -> None:
    answers = iter([faults.truncated, None])

    def answer(request: Request) -> Reply:
        fault = next(answers)
        return fault(request, honest(request), Random(4)) if fault else honest(request)

    internet.pages[PLACE] = answer
    mirror = over({"name": "origin", "url": origin.url}, foreign_layers=ALLOW)
    assert await pulled(mirror) == BASE
    first, second = internet.server.seen
    assert "range" not in first.headers and second.headers["range"].startswith("bytes=")


@pytest.mark.attack("A-cache-poisoning")
@pytest.mark.parametrize("fault", [faults.changed_byte, faults.other_bytes])
async def test_wrong_bytes_are_never_complete_nor_kept(
    origin: Server, over: Over, internet: Internet, fault: faults.Fault
) -> None:
    internet.pages[PLACE] = lambda request: fault(request, honest(request), Random(1))
    mirror = over({"name": "origin", "url": origin.url}, foreign_layers=ALLOW)
    await mirror.get_manifest(CALL, "win/base", "1")
    stream, came = await mirror.open_blob(CALL, "win/base", DIGEST), b""
    with pytest.raises(RegistryError) as wrong:
        async for chunk in stream.chunks:
            came += chunk
    await stream.aclose()
    assert (wrong.value.status, wrong.value.detail) == (502, {"upstream": "layers.example", "reason": "bad-answer"})
    assert len(came) < len(BASE)
    await settled(mirror)
    internet.pages[PLACE] = honest
    assert await pulled(mirror) == BASE
    assert mirror.counts.wrong == 1
