"""Upstreams of a test, from settings as people write them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from registry_node.registries.upstreams import Upstreams
from registry_node.settings.mirror import Mirror
from tests.upstreams.hub import FakeHub

Over = Callable[..., Upstreams]


def of_hub(hub: FakeHub, **options: Any) -> dict[str, Any]:
    """The settings of an upstream for it."""
    realms = [hub.tokens.url.removeprefix("http://").partition(":")[0]]
    return {"name": "hub", "url": hub.url, "official_images": True, "hosts": ["docker.io"], "realms": realms, **options}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(users={"ana": "secret"}) as started:
        yield started


@pytest.fixture
async def over() -> AsyncIterator[Over]:
    """``over(upstream, ..., **options of the mirror)``; closed in the end."""
    opened: list[Upstreams] = []

    def build(*upstreams: dict[str, Any], **options: Any) -> Upstreams:
        settings = Mirror.model_validate({"answer_seconds": 2, **options, "upstreams": list(upstreams)})
        opened.append(Upstreams.of(settings))
        return opened[-1]

    yield build
    for each in opened:
        await each.aclose()
