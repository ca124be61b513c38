"""The short way of a mirror, also for requests that say which registry they mean (``?ns=``, as containerd does)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from registry_node import build
from registry_node.app import App
from registry_node.settings import NodeSettings
from tests.registry_node.conftest import asking
from tests.registry_node.test_known_heads import head, known, read
from tests.upstreams.lying import LyingUpstream


@pytest.fixture
def registries() -> Iterator[tuple[LyingUpstream, LyingUpstream]]:
    with LyingUpstream() as first, LyingUpstream() as second:
        yield first, second


@pytest.fixture
async def app(tmp_path: Path, registries: tuple[LyingUpstream, LyingUpstream]) -> AsyncIterator[App]:
    upstreams = [
        {"name": name, "url": each.url, "hosts": [f"{name}.example"]}
        for name, each in zip(("first", "second"), registries, strict=True)
    ]
    given = {"node": "cache", "scope": "cache", "listen": {"port": 0}, "data": tmp_path / "data", "kind": "mirror"}
    grants = [{"to": "everyone", "allow": ["pull"]}]
    settings = NodeSettings.model_validate({**given, "mirror": {"upstreams": upstreams}, "grants": grants})
    with build.opened(settings) as opened:
        yield opened
        await opened.aclose()


def _line(path: str) -> bytes:
    return head(f"GET {path} HTTP/1.1".encode())


async def test_each_registry_has_copies_of_its_own(app: App, registries: tuple[LyingUpstream, LyingUpstream]) -> None:
    images = [each.holdings.image("apps/api", os.urandom(1000), tags=("1.0",)) for each in registries]
    tag, layers = "/v2/apps/api/manifests/1.0", [list(each.blobs)[1] for each in images]
    for name, image, layer in zip(("first", "second"), images, layers, strict=True):
        path, blob = f"{tag}?ns={name}.example", f"/v2/apps/api/blobs/{layer}?ns={name}.example"
        assert read(app, _line(path)) is None and read(app, _line(blob)) is None
        async with asking(app, None) as http:
            assert (await http.get(path)).content == image.content
            assert (await http.get(blob)).status_code == 200
        for request in (_line(path), _line(f"/v2/apps/api/manifests/{image.digest}?ns={name}.example")):
            answer = known(app, request)
            assert answer is not None and answer.endswith(image.content)
        async with asyncio.timeout(30):
            while (answer := known(app, _line(blob))) is None:
                await asyncio.sleep(0.01)  # it is stored
        assert answer.endswith(image.blobs[layer])
        assert known(app, _line(f"/v2/apps/api/blobs/{layer}?ns=third.example")) is None
    first = known(app, _line(f"{tag}?ns=first.example"))
    assert first is not None and first.endswith(images[0].content)
    assert known(app, _line(f"/v2/apps/api/blobs/{layers[0]}?ns=second.example")) is None


@pytest.mark.parametrize(
    "query",
    ["?ns=", "?ns=first.example&ns=second.example", "?ns=first.example&n=1", "?n=1&ns=first.example", "?ns=a%2eb"],
)
async def test_other_queries_take_the_long_way(
    app: App, registries: tuple[LyingUpstream, LyingUpstream], query: str
) -> None:
    registries[0].holdings.image("apps/api", b"layer", tags=("1.0",))
    async with asking(app, None) as http:
        await http.get("/v2/apps/api/manifests/1.0")
        await http.get("/v2/apps/api/manifests/1.0?ns=first.example")
    assert read(app, _line("/v2/apps/api/manifests/1.0?ns=first.example")) is not None
    assert read(app, _line(f"/v2/apps/api/manifests/1.0{query}")) is None
