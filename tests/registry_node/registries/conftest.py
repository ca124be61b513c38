"""A local registry in a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry_node.registries.local import LocalRegistry
from registry_node.settings import Rules
from tests.upstreams.internet import Internet, connected


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., LocalRegistry]]:
    """Opens the test's data folder under rules; again after a close gives the same content."""
    registries: list[LocalRegistry] = []

    def open_(**rules: Any) -> LocalRegistry:
        named = {name: rules.pop(name) for name in ("clock", "limits") if name in rules}
        registries.append(LocalRegistry.open(tmp_path / "data", Rules(**rules), **named))
        return registries[-1]

    yield open_
    for each in registries:
        each.close()


@pytest.fixture
def local(opened: Callable[..., LocalRegistry]) -> LocalRegistry:
    return opened()


@pytest.fixture
async def internet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    async with connected(monkeypatch) as made:
        yield made
