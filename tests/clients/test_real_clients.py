"""Journeys of the clients that people use. All of them sign in with a token (the challenge is Bearer); curl and
the tests of tests/registry_node use Basic."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import Clients
from tests.clients.images import Layout
from tests.nodes import SECRETS, RunningNode, log_lines
from tests.tools import find

pytestmark = [pytest.mark.clients, pytest.mark.slow]
CREDENTIALS = f"dev:{SECRETS['dev']}"
PLAIN = "--tls-verify=false"


def digest_at(node: RunningNode, repository: str, reference: str) -> str:
    with node.client() as client:
        return str(client.head(f"/v2/{repository}/manifests/{reference}").headers["docker-content-digest"])


def test_skopeo(node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    remote, source = f"docker://{node.host}/skopeo/api", f"oci:{layout.folder}:1.0"
    creds = ("--dest-creds", CREDENTIALS, "--dest-tls-verify=false")
    clients.run("skopeo", "copy", "--all", *creds, source, f"{remote}:1.0")
    assert digest_at(node, "skopeo/api", "1.0") == layout.index
    tags = json.loads(clients.run("skopeo", "list-tags", PLAIN, "--creds", CREDENTIALS, remote))
    assert tags["Tags"] == ["1.0"]
    raw = clients.run("skopeo", "inspect", "--raw", PLAIN, "--creds", CREDENTIALS, f"{remote}:1.0")
    assert raw.encode() == (layout.folder / "blobs" / "sha256" / layout.index.partition(":")[2]).read_bytes()
    back = tmp_path / "back"
    clients.run(
        "skopeo",
        "copy",
        "--all",
        "--src-creds",
        CREDENTIALS,
        "--src-tls-verify=false",
        f"{remote}:1.0",
        f"oci:{back}:1.0",
    )
    for blob in (layout.folder / "blobs" / "sha256").iterdir():
        assert (back / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()
    copy = f"docker://{node.host}/skopeo/copy:1.0"
    clients.run(
        "skopeo", "copy", "--all", "--src-tls-verify=false", "--src-creds", CREDENTIALS, *creds, f"{remote}:1.0", copy
    )
    assert digest_at(node, "skopeo/copy", "1.0") == layout.index
    clients.run("skopeo", "delete", PLAIN, "--creds", CREDENTIALS, f"{remote}:1.0")
    refused = clients.attempt("skopeo", "inspect", PLAIN, "--creds", CREDENTIALS, f"{remote}:1.0")
    assert refused.returncode != 0
    assert "manifest unknown" in refused.stderr


def test_skopeo_converts_a_docker_archive(node: RunningNode, clients: Clients, layout: Layout) -> None:
    remote = f"docker://{node.host}/skopeo/docker:v2s2"
    clients.run(
        "skopeo", "copy", "--format", "v2s2", "--override-os", "linux", "--override-arch", "arm64",
        "--dest-creds", CREDENTIALS, "--dest-tls-verify=false", f"oci:{layout.folder}:1.0", remote,
    )  # fmt: skip
    with node.client() as client:
        answer = client.get("/v2/skopeo/docker/manifests/v2s2")
    assert answer.headers["content-type"] == "application/vnd.docker.distribution.manifest.v2+json"


@pytest.mark.parametrize("name", ["nobody", "stranger"])
def test_skopeo_is_told_that_it_may_not(node: RunningNode, clients: Clients, layout: Layout, name: str) -> None:
    refused = clients.attempt(
        "skopeo", "copy", "--all", "--dest-creds", f"{name}:{SECRETS['dev']}", "--dest-tls-verify=false",
        f"oci:{layout.folder}:1.0", f"docker://{node.host}/skopeo/forbidden:1.0",
    )  # fmt: skip
    assert refused.returncode != 0
    assert "denied" in refused.stderr.lower() or "unauthorized" in refused.stderr.lower()
    with node.client() as client:
        assert client.get("/v2/skopeo/forbidden/tags/list").status_code == 404


def test_login_and_logout(node: RunningNode, clients: Clients) -> None:
    clients.run("skopeo", "login", PLAIN, "-u", "dev", "--password-stdin", node.host, stdin=SECRETS["dev"])
    wrong = clients.attempt("skopeo", "login", PLAIN, "-u", "dev", "--password-stdin", node.host, stdin="wrong")
    assert wrong.returncode != 0
    clients.run("skopeo", "logout", node.host)


def test_podman_and_buildah(node: RunningNode, clients: Clients, layout: Layout) -> None:
    """buildah makes an image from nothing and pushes it; podman pulls it elsewhere, tags it, pushes it on."""
    clients.containers("podman", "login", PLAIN, "-u", "dev", "--password-stdin", node.host, stdin=SECRETS["dev"])
    (clients.home / "hello.txt").write_text("hello\n")
    working = clients.containers("buildah", "from", "scratch").strip()
    clients.containers("buildah", "copy", working, str(clients.home / "hello.txt"), "/hello.txt")
    clients.containers("buildah", "config", "--label", "team=tests", working)
    reference = f"{node.host}/buildah/api:1.0"
    clients.containers("buildah", "commit", working, reference)
    clients.containers("buildah", "push", PLAIN, reference)
    pushed = digest_at(node, "buildah/api", "1.0")
    clients.containers("podman", "rmi", "--force", reference)
    clients.containers("podman", "pull", PLAIN, f"{node.host}/buildah/api@{pushed}")
    (found,) = json.loads(clients.containers("podman", "inspect", f"{node.host}/buildah/api@{pushed}"))
    assert found["Labels"]["team"] == "tests"
    clients.containers("podman", "tag", f"{node.host}/buildah/api@{pushed}", f"{node.host}/podman/api:2.0")
    clients.containers("podman", "push", PLAIN, f"{node.host}/podman/api:2.0")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest_at(node, "podman/api", "2.0"))
    listed = clients.containers("podman", "search", PLAIN, "--list-tags", f"{node.host}/podman/api")
    assert "2.0" in listed


def test_crane(node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    remote = f"{node.host}/crane/api"
    clients.run("crane", "auth", "login", node.host, "-u", "dev", "--password-stdin", stdin=SECRETS["dev"])
    clients.run("crane", "push", "--index", str(layout.folder), f"{remote}:layout")
    child = f"{remote}@{layout.manifests[0]}"
    clients.run("crane", "validate", "--remote", f"{remote}:layout")
    assert clients.run("crane", "digest", f"{remote}:layout").startswith("sha256:")
    clients.run("crane", "tag", child, "child")
    clients.run("crane", "copy", f"{remote}:layout", f"{node.host}/crane/copy:1.0")
    assert digest_at(node, "crane/copy", "1.0") == digest_at(node, "crane/api", "layout")
    assert clients.run("crane", "ls", remote).split() == ["child", "layout"]
    assert "crane/api" in clients.run("crane", "catalog", node.host).split()
    image = f"{remote}@{layout.index}"  # crane pushed the layout's own index.json around it
    clients.run("crane", "pull", "--platform", "linux/arm64", image, str(tmp_path / "image.tar"))
    config = json.loads(clients.run("crane", "config", "--platform", "linux/arm64", image))
    assert config["architecture"] == "arm64"
    clients.run("crane", "delete", child)
    assert clients.run("crane", "ls", remote).split() == ["layout"]


def test_oras(node: RunningNode, clients: Clients, tmp_path: Path) -> None:
    remote = f"{node.host}/oras/notes"
    clients.run("oras", "login", "--plain-http", node.host, "-u", "dev", "--password-stdin", stdin=SECRETS["dev"])
    (clients.home / "notes.txt").write_text("what is new\n" * 1000)
    (clients.home / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    clients.run(
        "oras", "push", "--plain-http", "--artifact-type", "application/notes", f"{remote}:1.0", "notes.txt:text/plain"
    )
    clients.run(
        "oras",
        "attach",
        "--plain-http",
        "--artifact-type",
        "application/sbom",
        f"{remote}:1.0",
        "sbom.json:application/json",
    )
    found = json.loads(clients.run("oras", "discover", "--plain-http", "--format", "json", f"{remote}:1.0"))
    referrers = found.get("referrers") or found.get("manifests")
    assert [each["artifactType"] for each in referrers] == ["application/sbom"]
    clients.run("oras", "pull", "--plain-http", "-o", str(tmp_path / "out"), f"{remote}:1.0")
    assert (tmp_path / "out" / "notes.txt").read_text() == (clients.home / "notes.txt").read_text()
    clients.run("oras", "tag", "--plain-http", f"{remote}:1.0", "latest", "stable")
    assert clients.run("oras", "repo", "tags", "--plain-http", remote).split() == ["1.0", "latest", "stable"]
    clients.run(
        "oras",
        "copy",
        "--recursive",
        "--from-plain-http",
        "--to-plain-http",
        f"{remote}:1.0",
        f"{node.host}/oras/copy:1.0",
    )
    assert digest_at(node, "oras/copy", "1.0") == digest_at(node, "oras/notes", "1.0")
    digest = digest_at(node, "oras/notes", "1.0")
    clients.run("oras", "manifest", "delete", "--plain-http", "--force", f"{remote}@{digest}")
    with node.client() as client:
        assert client.get("/v2/oras/notes/tags/list").json()["tags"] == []


def test_curl_resumes_a_blob_with_basic_credentials(node: RunningNode, clients: Clients, tmp_path: Path) -> None:
    if find("curl") is None:
        pytest.skip("curl is not installed")
    from hashlib import sha256

    content = bytes(range(256)) * 8192
    digest = f"sha256:{sha256(content).hexdigest()}"
    with node.client() as client:
        client.post("/v2/curl/api/blobs/uploads/", params={"digest": digest}, content=content).raise_for_status()
    half = tmp_path / "blob"
    half.write_bytes(content[:1_000_000])
    clients.run("curl", "-fsS", "-u", CREDENTIALS, "-C", "-", "-o", str(half), f"{node.url}/v2/curl/api/blobs/{digest}")
    assert half.read_bytes() == content


def test_the_clients_signed_in_with_tokens(node: RunningNode, clients: Clients, layout: Layout) -> None:
    """Guards the other tests: what they show is token sign-in, scope by scope."""
    before = len(log_lines(node))
    clients.run("crane", "auth", "login", node.host, "-u", "ci", "--password-stdin", stdin=SECRETS["ci"])
    clients.run("crane", "push", "--index", str(layout.folder), f"{node.host}/crane/robot:1.0")
    time.sleep(0.5)  # the node writes its log in bundles
    asked = [each for each in log_lines(node)[before:] if each.get("path") == "/auth/token"]
    assert asked
    assert all(each["status"] == 200 for each in asked)
    assert httpx.get(f"{node.url}/v2/", trust_env=False).headers["www-authenticate"].startswith("Bearer ")
