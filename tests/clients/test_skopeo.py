"""skopeo carries images between places: folders, layouts and repositories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import CREDENTIALS, PLAIN, Clients, digest_at, tags_at
from tests.nodes import SECRETS, RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]
TO = ("--dest-creds", CREDENTIALS, "--dest-tls-verify=false")
FROM = ("--src-creds", CREDENTIALS, "--src-tls-verify=false")
ASK = (PLAIN, "--creds", CREDENTIALS)


def test_all_platforms_go_in_and_come_back(node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    clients.publish(layout, node, "skopeo/api:1.0")
    remote = f"docker://{node.host}/skopeo/api"
    assert digest_at(node, "skopeo/api", "1.0") == layout.index
    tags = json.loads(clients.run("skopeo", "list-tags", *ASK, remote))
    assert tags["Tags"] == ["1.0"]
    raw = clients.run("skopeo", "inspect", "--raw", *ASK, f"{remote}:1.0")
    assert raw.encode() == (layout.folder / "blobs" / "sha256" / layout.index.partition(":")[2]).read_bytes()
    back = tmp_path / "back"
    clients.run("skopeo", "copy", "--all", *FROM, f"{remote}:1.0", f"oci:{back}:1.0")
    for blob in (layout.folder / "blobs" / "sha256").iterdir():
        assert (back / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()


def test_one_platform_is_chosen_from_an_index(node: RunningNode, clients: Clients, layout: Layout) -> None:
    clients.publish(layout, node, "skopeo/platforms:1.0")
    remote = f"docker://{node.host}/skopeo/platforms:1.0"
    chosen = ("--override-os", "linux", "--override-arch", "arm64")
    config = json.loads(clients.run("skopeo", *chosen, "inspect", "--config", *ASK, remote))
    assert config["architecture"] == "arm64"
    found = json.loads(clients.run("skopeo", *chosen, "inspect", *ASK, remote))
    assert (found["Digest"], len(found["Layers"])) == (layout.index, 3)


def test_within_the_registry_layers_are_mounted(
    node: RunningNode, clients: Clients, layout: Layout, seen: Journal
) -> None:
    source = clients.publish(layout, node, "skopeo/source:1.0")
    seen.turn_page()
    clients.run("skopeo", "copy", "--all", *FROM, *TO, f"docker://{source}", f"docker://{node.host}/skopeo/copy:1.0")
    assert digest_at(node, "skopeo/copy", "1.0") == layout.index
    assert seen.count("POST", "^/v2/skopeo/copy/blobs/uploads/$", 201) >= 6, "mounted, not sent again"
    assert seen.count("PUT", "^/v2/skopeo/copy/manifests/", 201) == 3


def test_a_pushed_image_is_known_the_second_time(
    node: RunningNode, clients: Clients, layout: Layout, seen: Journal
) -> None:
    clients.publish(layout, node, "skopeo/again:1.0")
    assert seen.count("POST", "^/v2/skopeo/again/blobs/uploads/") == 8, "each blob sent, or mounted from elsewhere"
    seen.turn_page()
    clients.publish(layout, node, "skopeo/again:1.1")
    assert seen.count("POST", "^/v2/skopeo/again/blobs/uploads/") == 0
    assert tags_at(node, "skopeo/again") == ["1.0", "1.1"]


def test_a_push_takes_few_tokens_and_each_request_uses_one(
    node: RunningNode, clients: Clients, layout: Layout, seen: Journal
) -> None:
    """A password is looked at for a token, never for a request."""
    clients.publish(layout, node, "skopeo/tokens:1.0")
    seen.assert_signed_in("dev")
    assert seen.count(path="^/auth/token$") <= 3
    assert seen.count(path="^/v2/skopeo/tokens/") >= 20


def test_a_repository_is_synchronised_through_a_folder(
    node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path
) -> None:
    for tag in ("1.0", "1.1"):
        clients.publish(layout, node, f"skopeo/sync:{tag}")
    folder = tmp_path / "mirror"
    folder.mkdir()
    source = f"{node.host}/skopeo/sync"
    clients.run("skopeo", "sync", "--all", "--scoped", *FROM, "--src", "docker", "--dest", "dir", source, str(folder))
    clients.run("skopeo", "copy", "--all", *TO, f"dir:{folder}/{source}:1.1", f"docker://{node.host}/skopeo/far:1.1")
    assert digest_at(node, "skopeo/far", "1.1") == layout.index
    clients.run(
        "skopeo", "sync", "--all", *FROM, *TO, "--src", "docker", "--dest", "docker",
        source, f"{node.host}/skopeo/mirrored",
    )  # fmt: skip
    assert tags_at(node, "skopeo/mirrored/sync") == ["1.0", "1.1"]


def test_deletes_what_a_tag_names(node: RunningNode, clients: Clients, layout: Layout, seen: Journal) -> None:
    remote = f"docker://{clients.publish(layout, node, 'skopeo/gone:1.0')}"
    clients.run("skopeo", "delete", *ASK, remote)
    assert seen.count("DELETE", f"^/v2/skopeo/gone/manifests/{layout.index}$", 202) == 1
    refused = clients.attempt("skopeo", "inspect", *ASK, remote)
    assert refused.returncode != 0
    assert "manifest unknown" in refused.stderr


def test_converts_to_docker_schema_2(node: RunningNode, clients: Clients, layout: Layout) -> None:
    remote = f"docker://{node.host}/skopeo/docker:v2s2"
    arm = ("--override-os", "linux", "--override-arch", "arm64")
    clients.run("skopeo", "copy", "--format", "v2s2", *arm, *TO, f"oci:{layout.folder}:1.0", remote)
    with node.client() as client:
        answer = client.get("/v2/skopeo/docker/manifests/v2s2")
    assert answer.headers["content-type"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert json.loads(clients.run("skopeo", "inspect", "--config", *ASK, remote))["architecture"] == "arm64"


def test_docker_schema_1_is_refused_with_a_hint(
    node: RunningNode, clients: Clients, layout: Layout, seen: Journal
) -> None:
    seen.expected.add(400)
    remote = f"docker://{node.host}/skopeo/schema1:1.0"
    refused = clients.attempt("skopeo", "copy", "--format", "v2s1", *TO, f"oci:{layout.folder}:1.0", remote)
    assert refused.returncode != 0
    assert "Docker schema 1 is not served here" in refused.stderr
    assert tags_at(node, "skopeo/schema1") == []


@pytest.mark.parametrize("name", ["nobody", "stranger"])
def test_is_told_that_it_may_not(node: RunningNode, clients: Clients, layout: Layout, name: str) -> None:
    refused = clients.attempt(
        "skopeo", "copy", "--all", "--dest-creds", f"{name}:{SECRETS['dev']}", "--dest-tls-verify=false",
        f"oci:{layout.folder}:1.0", f"docker://{node.host}/skopeo/forbidden:1.0",
    )  # fmt: skip
    assert refused.returncode != 0
    assert "denied" in refused.stderr.lower() or "unauthorized" in refused.stderr.lower()
    assert tags_at(node, "skopeo/forbidden") == []


def test_anybody_pulls_what_is_public_and_only_that(
    node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path, seen: Journal
) -> None:
    public = clients.publish(layout, node, "public/skopeo:1.0")
    private = clients.publish(layout, node, "skopeo/private:1.0")
    seen.turn_page()
    without = ("copy", "--all", "--src-no-creds", "--src-tls-verify=false")
    clients.run("skopeo", *without, f"docker://{public}", f"oci:{tmp_path / 'public'}:1.0")
    assert {each["who"] for each in seen.lines(path="^/v2/public/")} == {"-"}
    refused = clients.attempt("skopeo", *without, f"docker://{private}", f"oci:{tmp_path / 'private'}:1.0")
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr.lower()


def test_login_and_logout(node: RunningNode, clients: Clients) -> None:
    clients.login("skopeo", node, "login", PLAIN)
    wrong = clients.attempt("skopeo", "login", PLAIN, "-u", "dev", "--password-stdin", node.host, stdin="wrong")
    assert wrong.returncode != 0
    assert "invalid username/password" in wrong.stderr
    clients.run("skopeo", "logout", node.host)
