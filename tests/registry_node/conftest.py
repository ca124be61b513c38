"""One node's app over the in-memory registry, asked through httpx without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from identity.passwords import hash_password, hash_token
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from registry_node.settings import NodeSettings
from tests.postgresql import Cluster, server

PASSWORD = "correct horse"
ROBOT_TOKEN = "tpr_robot-of-the-tests"
ENGINE_TOKEN = "tpr_engine-of-the-tests"
DEV, ROBOT, ENGINE, READER = (
    ("dev", PASSWORD),
    ("ci", ROBOT_TOKEN),
    ("towpath-engine", ENGINE_TOKEN),
    ("reader", PASSWORD),
)
_HASH = hash_password(PASSWORD, cost=4)

USERS = {
    "dev": {"password_bcrypt": _HASH},
    "reader": {"password_bcrypt": _HASH},
    "nobody": {"password_bcrypt": _HASH},
    "ci": {"robot": True, "token_sha256": hash_token(ROBOT_TOKEN)},
    "towpath-engine": {"robot": True, "token_sha256": hash_token(ENGINE_TOKEN)},
}
GRANTS = [
    {"to": "dev", "allow": ["pull", "push", "delete"]},
    {"to": "ci", "allow": ["pull", "push"], "repositories": ["ci/**"]},
    {"to": "reader", "allow": ["pull"], "repositories": ["apps/**"]},
    {"to": "everyone", "allow": ["pull"], "repositories": ["public/**"]},
    {"to": "towpath-engine", "allow": ["pull", "push", "delete", "annotate", "promote"]},
]


def settings(data: Path, **changes: object) -> NodeSettings:
    given = {
        "node": "box",
        "scope": "sandbox",
        "listen": {"port": 0},
        "data": str(data),
        "users": USERS,
        "grants": GRANTS,
    }
    return NodeSettings.model_validate({**given, **changes})


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry(node="box", scope="sandbox")


@pytest.fixture
def app(tmp_path: Path, registry: MemoryRegistry) -> App:
    return build.app_of(settings(tmp_path), registry, log=False)


def asking(app: App, auth: tuple[str, str] | None = DEV) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box.test", auth=auth)


@pytest.fixture
async def http(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """As ``dev``, who may pull, push and delete everywhere."""
    async with asking(app) as client:
        yield client


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of the tests' own."""
    with server() as started:
        yield started
