"""curl, with Basic credentials: what scripts do."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from tests.clients.journal import Journal
from tests.clients.programs import CREDENTIALS, Clients
from tests.nodes import RunningNode
from tests.tools import find

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def test_resumes_a_blob(node: RunningNode, clients: Clients, tmp_path: Path, seen: Journal) -> None:
    if find("curl") is None:
        pytest.skip("curl is not installed")
    content = bytes(range(256)) * 8192
    digest = f"sha256:{sha256(content).hexdigest()}"
    with node.client() as client:
        client.post("/v2/curl/api/blobs/uploads/", params={"digest": digest}, content=content).raise_for_status()
    half = tmp_path / "blob"
    half.write_bytes(content[:1_000_000])
    clients.run("curl", "-fsS", "-u", CREDENTIALS, "-C", "-", "-o", str(half), f"{node.url}/v2/curl/api/blobs/{digest}")
    assert half.read_bytes() == content
    assert seen.count("GET", f"^/v2/curl/api/blobs/{digest}$", 206) == 1
    assert seen.count(path="^/auth/token$") == 0
