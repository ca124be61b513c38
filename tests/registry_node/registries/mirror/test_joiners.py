"""Many who ask for the same cold image at once, at all paces: each object is asked for once."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.registry import Call
from registry_node.registries.mirror.mirror import MirrorRegistry
from tests.registry_node.pushes import put_image
from tests.registry_node.registries.mirror.conftest import MakeMirror
from tests.registry_node.registries.mirror.double import Upstream

ROUNDS, JOINERS, LONGEST = 200, 25, 0.004  # seconds of a delay


class Delays:
    """Of everything that a mirror waits for: the disk, the index, the upstream. Drawn for each round anew."""

    def __init__(self, mirror: MirrorRegistry, upstream: Upstream) -> None:
        self.random = Random()
        store: Any = mirror._cache.store
        for owner, name in ((store, "read"), (store, "write"), (store, "on_disk"), (store, "from_disk")):
            setattr(owner, name, self._late(getattr(owner, name)))
        for name in ("get_manifest", "open_blob", "stat_blob", "resolve"):
            setattr(upstream, name, self._late(getattr(upstream, name)))

    async def some(self) -> None:
        if self.random.random() < 0.7:
            await asyncio.sleep(self.random.random() * LONGEST)

    def _late(self, work: Any) -> Any:
        async def late(*args: Any, **options: Any) -> Any:
            await self.some()
            try:
                return await work(*args, **options)
            finally:
                await self.some()

        return late


async def _pull(mirror: MirrorRegistry, name: str, layers: list[bytes], delays: Delays) -> None:
    await delays.some()
    manifest = await mirror.get_manifest(Call(), name, "1.0")
    blobs = list(manifest.blobs)
    delays.random.shuffle(blobs)
    for blob in blobs:
        await delays.some()
        content = await (await mirror.open_blob(Call(), name, blob.digest)).read()
        assert Digest.of(content) == blob.digest
    assert {Digest.of(each) for each in layers} <= {each.digest for each in blobs}


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_object_is_asked_for_once_whatever_takes_how_long(
    mirror: MirrorRegistry, upstream: Upstream
) -> None:
    delays, asked = Delays(mirror, upstream), Counter[str]()
    for seed in range(ROUNDS):
        delays.random.seed(seed)
        layers = [os.urandom(size) for size in (1_000, 300_000)]
        config = b'{"of": %d}' % seed
        await put_image(upstream.registry, f"apps/a{seed}", *layers, tags=["1.0"], config=config)
        upstream.asked.clear()
        await asyncio.gather(*(_pull(mirror, f"apps/a{seed}", layers, delays) for _ in range(JOINERS)))
        asked = Counter(upstream.asked)
        assert asked == {"manifest": 1, "blob": 3}, f"seed {seed}"


async def test_a_library_that_cancels_the_task_of_a_fill_and_takes_it_back_stops_nothing(
    mirror: MirrorRegistry, upstream: Upstream
) -> None:
    """anyio does so to connect: each who joined took the fill for one that is being stopped, waited for its end, and
    the first of them began another one."""
    layer = os.urandom(300_000)
    await put_image(upstream.registry, "apps/api", layer, tags=["1.0"])
    open_blob = upstream.open_blob

    async def cancelling(*args: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert task.cancelling()
        return await open_blob(*args, **options)

    upstream.open_blob = cancelling  # type: ignore[method-assign]
    delays = Delays(mirror, upstream)
    await asyncio.gather(*(_pull(mirror, "apps/api", [layer], delays) for _ in range(JOINERS)))
    assert upstream.asked == {"manifest": 1, "blob": 2}


async def test_who_comes_while_a_fill_is_stopped_goes_on_where_it_was(mirrored: MakeMirror, upstream: Upstream) -> None:
    mirror, layer = mirrored(finish_share=1), os.urandom(3_000_000)
    await put_image(upstream.registry, "apps/api", layer, tags=["1.0"])
    upstream.flowing.clear()
    upstream.first = 1_500_000
    stream = await mirror.open_blob(Call(), "apps/api", Digest.of(layer))
    await anext(stream.chunks)
    await stream.aclose()
    upstream.flowing.set()
    streams = await asyncio.gather(*(mirror.open_blob(Call(), "apps/api", Digest.of(layer)) for _ in range(JOINERS)))
    for found in await asyncio.gather(*(each.read() for each in streams)):
        assert found == layer
    assert upstream.asked["blob"] == 2 and mirror.counts.resumed == 1
