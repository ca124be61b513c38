"""Images as people write them, and who may see whose secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.layout import LayoutFolder
from sites.state import StateFolder
from topology.load import load
from towpath.problem import Problem
from towpath.references import Places
from towpath.workspace import Workspace

QUICKSTART = Path(__file__).resolve().parent.parent.parent / "examples" / "quickstart" / "topology.yaml"
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    loaded = load(QUICKSTART)
    assert loaded.topology is not None
    state = StateFolder(tmp_path / "state")
    state.claim("quickstart", QUICKSTART)
    state.write_addresses({"prod-eu": "http://127.0.1.1:5003", "prod-us": "http://127.0.2.1:5003"})
    return Workspace(QUICKSTART, loaded, loaded.topology, state)


async def test_a_scope_is_its_primary_and_a_node_itself(workspace: Workspace) -> None:
    async with Places(workspace) as places:
        at_scope = await places.locate("prod/apps/api:1.0")
        at_node = await places.locate(f"prod-us/apps/api:1.0@{DIGEST}")
    assert (at_scope.place.node, at_scope.place.repository, at_scope.reference) == ("prod-eu", "apps/api", "1.0")
    assert (at_node.place.node, at_node.tag, at_node.reference) == ("prod-us", "1.0", DIGEST)


async def test_a_registry_by_its_address() -> None:
    async with Places(None) as places:
        near = await places.locate("127.0.0.1:5000/apps/api:1.0")
        far = await places.locate(f"registry.example/apps/api@{DIGEST}")
    assert near.place.origin == "http://127.0.0.1:5000"
    assert far.place.origin == "https://registry.example"
    assert far.reference == DIGEST


async def test_a_layout_folder(tmp_path: Path) -> None:
    LayoutFolder(tmp_path / "image", create=True)
    async with Places(None) as places:
        tagged = await places.locate(f"oci:{tmp_path / 'image'}:1.0")
        plain = await places.locate(f"oci:{tmp_path / 'image'}")
        by_digest = await places.locate(f"oci:{tmp_path / 'image'}@{DIGEST}")
        with pytest.raises(Problem, match="not an OCI image layout"):
            await places.locate(f"oci:{tmp_path}")
    assert (tagged.reference, plain.reference, by_digest.reference) == ("1.0", "", DIGEST)


@pytest.mark.parametrize(
    "text", ["nowhere/apps/api:1", "prod/UPPER:1", "prod/apps/api:.bad", "plain", f"prod/a@{DIGEST[:-1]}"]
)
async def test_what_cannot_be_read_is_said(workspace: Workspace, text: str) -> None:
    async with Places(workspace) as places:
        with pytest.raises(Problem) as raised:
            await places.locate(text)
    assert raised.value.exit == 2
    assert raised.value.next


async def test_a_node_without_an_address_says_up(workspace: Workspace) -> None:
    async with Places(workspace) as places:
        with pytest.raises(Problem, match="no address"):
            await places.locate("archive/apps/api:1")


async def test_secrets_go_to_declared_nodes_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, Credentials | None] = {}

    class Recorded(RemoteRegistry):
        def __init__(self, url: str, *, credentials: Credentials | None = None, **options: Any) -> None:
            shown[url] = credentials
            super().__init__(url, credentials=credentials, **options)

    monkeypatch.setattr("towpath.references.RemoteRegistry", Recorded)
    async with Places(workspace, Credentials("dev", "secret")) as places:
        for image in ("prod/apps/api:1", "127.0.2.1:5003/apps/api:1", "registry.example/apps/api:1"):
            await places.locate(image)
    assert {url for url, credentials in shown.items() if credentials} == {
        "http://127.0.1.1:5003",
        "http://127.0.2.1:5003",
    }
    assert shown["https://registry.example"] is None
