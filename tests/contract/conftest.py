"""Every test of this folder runs against every implementation: ``registry`` is one of them, opened and empty enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.implementations import ALL, Implementation


def _parameter(each: Implementation) -> Any:
    return pytest.param(each, id=each.name, marks=[getattr(pytest.mark, mark) for mark in each.marks])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "implementation" not in metafunc.fixturenames:
        return
    needed = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
    chosen = [_parameter(each) for each in ALL if needed <= each.capabilities]
    metafunc.parametrize("implementation", chosen, scope="session")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(capability): only for implementations that declare it")


class Servers:
    """Servers that tests share: each is started when first wanted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._running: dict[str, Any] = {}

    def of(self, implementation: Implementation) -> Any:
        if implementation.name not in self._running:
            folder = self._folder / implementation.name
            folder.mkdir()
            self._running[implementation.name] = self._stack.enter_context(implementation.serve(folder))
        return self._running[implementation.name]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    running = Servers(tmp_path_factory.mktemp("servers"))
    yield running
    running.close()


@pytest.fixture
async def registry(implementation: Implementation, servers: Servers, tmp_path: Path) -> AsyncIterator[Any]:
    async with implementation.open(tmp_path, servers.of(implementation)) as opened:
        yield opened


@pytest.fixture
def repository() -> str:
    """A name of its own for each test: some implementations are shared."""
    return f"t{uuid4().hex[:12]}/app"
