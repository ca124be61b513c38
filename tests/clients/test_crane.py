"""crane builds, copies, checks and deletes images without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.images import Layout, packed
from tests.clients.journal import Journal
from tests.clients.programs import Clients, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.fixture
def crane(clients: Clients, node: RunningNode) -> Clients:
    clients.run("crane", "auth", "login", node.host, "-u", "dev", "-p", node.auth("dev")[1])
    return clients


def test_a_layout_is_pushed_validated_and_pulled(
    node: RunningNode, crane: Clients, layout: Layout, tmp_path: Path, seen: Journal
) -> None:
    remote = f"{node.host}/crane/api"
    pushed = crane.run("crane", "push", "--index", str(layout.folder), f"{remote}:layout").strip()
    seen.assert_signed_in("dev")
    assert pushed == f"{remote}@{digest_at(node, 'crane/api', 'layout')}"
    crane.run("crane", "validate", "--remote", f"{remote}:layout")
    image = f"{remote}@{layout.index}"  # crane pushed the layout's own index.json around it
    assert crane.run("crane", "digest", image).strip() == layout.index
    assert crane.run("crane", "digest", "--platform", "linux/arm64", image).strip() == layout.manifests[1]
    config = json.loads(crane.run("crane", "config", "--platform", "linux/arm64", image))
    assert config["architecture"] == "arm64"
    crane.run("crane", "pull", "--platform", "linux/arm64", image, str(tmp_path / "image.tar"))
    crane.run("crane", "validate", "--tarball", str(tmp_path / "image.tar"))
    crane.run("crane", "pull", "--format", "oci", image, str(tmp_path / "again"))
    for blob in (layout.folder / "blobs" / "sha256").iterdir():
        assert (tmp_path / "again" / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()


def test_an_image_grows_layer_by_layer(node: RunningNode, crane: Clients, tmp_path: Path) -> None:
    remote = f"{node.host}/crane/grown"
    for name in ("one", "two"):
        (tmp_path / f"{name}.tar").write_bytes(packed(f"{name}.txt", name.encode() * 1000))
    crane.run("crane", "append", "--oci-empty-base", "-f", str(tmp_path / "one.tar"), "-t", f"{remote}:1")
    crane.run("crane", "append", "-b", f"{remote}:1", "-f", str(tmp_path / "two.tar"), "-t", f"{remote}:2")
    changed = ("--set-platform", "linux/arm64", "--label", "team=tests", "--entrypoint", "/one.txt")
    crane.run("crane", "mutate", *changed, "-t", f"{remote}:3", f"{remote}:2")
    crane.run("crane", "validate", "--remote", f"{remote}:3")
    config = json.loads(crane.run("crane", "config", f"{remote}:3"))
    assert (config["architecture"], config["config"]["Labels"]) == ("arm64", {"team": "tests"})
    with node.client() as client:
        layers = [client.get(f"/v2/crane/grown/manifests/{tag}").json()["layers"] for tag in ("1", "2", "3")]
    assert layers[0] == layers[1][:1]
    assert layers[1] == layers[2]
    assert len(layers[2]) == 2
    crane.run("crane", "flatten", "-t", f"{remote}:flat", f"{remote}:3")
    assert crane.run("crane", "export", f"{remote}:flat", "-").count("two.txt") == 1


def test_copies_mount_and_tags_move(node: RunningNode, crane: Clients, layout: Layout, seen: Journal) -> None:
    source = crane.publish(layout, node, "crane/source:1.0")
    seen.turn_page()
    crane.run("crane", "copy", "--all-tags", f"{node.host}/crane/source", f"{node.host}/crane/target")
    assert digest_at(node, "crane/target", "1.0") == layout.index
    assert seen.count("PATCH", "^/v2/crane/target/") == 0, "no byte of a blob is sent"
    crane.run("crane", "tag", f"{source}", "stable")
    assert crane.run("crane", "ls", f"{node.host}/crane/source").split() == ["1.0", "stable"]
    assert {"crane/source", "crane/target"} <= set(crane.run("crane", "catalog", node.host).split())


def test_deletes_a_tag_then_a_digest(node: RunningNode, crane: Clients, layout: Layout) -> None:
    source = crane.publish(layout, node, "crane/gone:1.0")
    crane.run("crane", "tag", source, "extra")
    crane.run("crane", "delete", f"{node.host}/crane/gone:extra")
    assert tags_at(node, "crane/gone") == ["1.0"]
    crane.run("crane", "delete", f"{node.host}/crane/gone@{layout.index}")
    assert tags_at(node, "crane/gone") == []
    refused = crane.attempt("crane", "digest", source)
    assert refused.returncode != 0
    assert "MANIFEST_UNKNOWN" in crane.attempt("crane", "manifest", source).stderr


def test_an_index_is_put_together_and_filtered(node: RunningNode, crane: Clients, layout: Layout) -> None:
    crane.publish(layout, node, "crane/parts:1.0")
    parts = [f"{node.host}/crane/parts@{digest}" for digest in layout.manifests]
    target = f"{node.host}/crane/index"
    crane.run("crane", "index", "append", "-t", f"{target}:1", *(flag for part in parts for flag in ("-m", part)))
    with node.client() as client:
        listed = client.get("/v2/crane/index/manifests/1").json()["manifests"]
    assert [each["digest"] for each in listed] == layout.manifests
    crane.run("crane", "index", "filter", f"{target}:1", "--platform", "linux/arm64", "-t", f"{target}:arm")
    with node.client() as client:
        (only,) = client.get("/v2/crane/index/manifests/arm").json()["manifests"]
    assert only["digest"] == layout.manifests[1]


def test_a_command_costs_no_second_try(node: RunningNode, crane: Clients, layout: Layout) -> None:
    """crane tries TLS first; when a plain port says nothing it does so again, a third of a second later."""
    source = crane.publish(layout, node, "crane/prompt:1.0")
    done = crane.attempt("crane", "digest", source)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, layout.index, "")


def test_anybody_pulls_what_is_public(
    node: RunningNode, clients: Clients, layout: Layout, tmp_path: Path, seen: Journal
) -> None:
    source = clients.publish(layout, node, "public/crane:1.0")
    seen.turn_page()
    clients.run("crane", "pull", source, str(tmp_path / "image.tar"))
    assert {each["who"] for each in seen.lines(path="^/v2/public/")} == {"-"}
    refused = clients.attempt("crane", "tag", source, "mine")
    assert "UNAUTHORIZED" in refused.stderr
    assert tags_at(node, "public/crane") == ["1.0"]
