"""Deployments for journeys: one that tests share, and fresh ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.deployment import TOP, Deployment

sys.path.insert(0, str(TOP / "scripts" / "demo"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The quickstart, up, for all tests of a module: they use names of their own in it."""
    deployment = Deployment.of_quickstart(tmp_path_factory.mktemp("journey") / "quickstart")
    try:
        deployment.up()
        yield deployment
    finally:
        deployment.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Deployment]:
    """A copy that nothing was started from yet."""
    deployment = Deployment.of_quickstart(tmp_path / "quickstart")
    try:
        yield deployment
    finally:
        deployment.close()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A multi-platform image as ``oci:FOLDER:TAG``."""
    import image as made

    folder = tmp_path_factory.mktemp("image") / "api"
    made.make(folder, version="1.0", created="2026-01-01T00:00:00Z")
    return f"oci:{folder}:1.0"
