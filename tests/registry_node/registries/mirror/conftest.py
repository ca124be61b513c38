"""A mirror in a folder of its own, and the upstream that it asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from registry_node.registries.mirror.mirror import MirrorRegistry
from registry_node.registries.upstreams import Upstreams
from registry_node.settings import Mirror
from tests.registry_node.registries.conftest import Clock
from tests.registry_node.registries.mirror.double import Upstream

MakeMirror = Callable[..., MirrorRegistry]


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def mirrored(tmp_path: Path, upstream: Upstream, clock: Clock) -> AsyncIterator[MakeMirror]:
    """Opens the test's mirror with settings; again after a close gives the same content."""
    made: list[MirrorRegistry] = []

    def open_(**settings: Any) -> MirrorRegistry:
        given = {"upstreams": [{"name": "hub", "url": "https://hub.example"}], **settings}
        made.append(MirrorRegistry.open(tmp_path / "cache", Mirror.model_validate(given), upstream, clock=clock))
        return made[-1]

    yield open_
    upstream.answering.set()
    upstream.flowing.set()
    for each in made:
        await each.aclose()
        each.close()


Over = Callable[..., MirrorRegistry]


@pytest.fixture
async def over(tmp_path: Path) -> AsyncIterator[Over]:
    """``over(upstream, ..., **options of the mirror)``: one before real servers; closed in the end."""
    made: list[MirrorRegistry] = []

    def open_(
        *upstreams: dict[str, Any], manifest_bytes: int = 1024 * 1024, dsn: str | None = None, **options: Any
    ) -> MirrorRegistry:
        settings = Mirror.model_validate({"answer_seconds": 2, **options, "upstreams": list(upstreams)})
        sources = Upstreams.of(settings, manifest_bytes=manifest_bytes)
        made.append(MirrorRegistry.open(tmp_path / f"over{len(made)}", settings, sources, dsn=dsn))
        return made[-1]

    yield open_
    for each in made:
        await each.aclose()
        each.close()


@pytest.fixture
def mirror(mirrored: MakeMirror) -> MirrorRegistry:
    return mirrored()
