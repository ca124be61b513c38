"""ko compiles a Go program for two platforms and pushes them as one image."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import MODULE, PROGRAM
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients, digest_at, tags_at
from tests.nodes import RunningNode
from tests.tools import require

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def _go_folders() -> dict[str, str]:
    """Where Go keeps what it has compiled: a test's home would have it compile everything anew."""
    said = subprocess.run(
        [require("go"), "env", "-json", "GOCACHE", "GOMODCACHE", "GOPATH"], capture_output=True, check=True, timeout=60
    )
    return dict(json.loads(said.stdout))


@pytest.mark.timeout(400)
def test_a_program_for_two_platforms(node: RunningNode, clients: Clients, tmp_path: Path, seen: Journal) -> None:
    """This ko knows no ``scratch``: its base is an image of ours without layers, that it pulls first."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.go").write_text(PROGRAM)
    (source / "go.mod").write_text(MODULE)
    clients.publish(Layout(tmp_path / "base", files=()), node, "ko/base:1.0")
    clients.login("ko", node, "login")
    clients.environment |= _go_folders() | {
        "KO_DEFAULTBASEIMAGE": f"{node.host}/ko/base:1.0",
        "KO_DOCKER_REPO": f"{node.host}/ko/hello",
        "PATH": f"{Path(require('go')).parent}{os.pathsep}{os.environ['PATH']}",
        "GOFLAGS": "-mod=mod",
    }
    platforms = ("--platform", "linux/amd64,linux/arm64", "--tags", "1.0,latest", "--bare", "--insecure-registry")
    seen.turn_page()
    said = clients.run("ko", "build", *platforms, ".", folder=source, seconds=360)
    assert said.strip() == f"{node.host}/ko/hello@{digest_at(node, 'ko/hello', '1.0')}"
    seen.assert_signed_in("dev")
    tags = tags_at(node, "ko/hello")
    assert {"1.0", "latest"} <= set(tags)
    assert sum(tag.endswith(".sbom") for tag in tags) == 3, "an SBOM for each platform and for the whole"
    with node.client() as client:
        children = client.get("/v2/ko/hello/manifests/1.0").json()["manifests"]
        images = [client.get(f"/v2/ko/hello/manifests/{each['digest']}").json() for each in children]
        configs = [client.get(f"/v2/ko/hello/blobs/{each['config']['digest']}").json() for each in images]
    assert [each["architecture"] for each in configs] == ["amd64", "arm64"]
    assert [each["config"]["Entrypoint"] for each in configs] == [["/ko-app/hello"]] * 2
