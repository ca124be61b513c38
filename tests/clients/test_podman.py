"""podman pulls, runs, tags, pushes, and makes lists of platforms."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import GREETING
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import CONFINED, PLAIN, Clients, Failed, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def test_a_pulled_image_is_tagged_and_pushed_on(
    node: RunningNode, clients: Clients, layout: Layout, seen: Journal
) -> None:
    source = clients.publish(layout, node, "podman/api:1.0")
    clients.login("podman", node, "login", PLAIN)
    by_digest = f"{node.host}/podman/api@{layout.index}"
    clients.containers("podman", "pull", PLAIN, by_digest)
    (found,) = json.loads(clients.containers("podman", "inspect", by_digest))
    assert found["Labels"] == {"org.opencontainers.image.version": "1.0"}
    clients.containers("podman", "pull", PLAIN, source)
    clients.containers("podman", "tag", source, f"{node.host}/podman/next:2.0")
    seen.turn_page()
    clients.containers("podman", "push", PLAIN, f"{node.host}/podman/next:2.0")
    assert tags_at(node, "podman/next") == ["2.0"]
    seen.assert_signed_in("dev")
    listed = clients.containers("podman", "search", PLAIN, "--list-tags", f"{node.host}/podman/next")
    assert "2.0" in listed


def test_a_platform_other_than_ours(node: RunningNode, clients: Clients, layout: Layout) -> None:
    source = clients.publish(layout, node, "podman/arm:1.0")
    clients.login("podman", node, "login", PLAIN)
    clients.containers("podman", "pull", PLAIN, "--platform", "linux/arm64", source)
    (found,) = json.loads(clients.containers("podman", "inspect", source))
    assert (found["Architecture"], found["Digest"]) == ("arm64", layout.index)


def test_a_list_of_platforms_is_pushed_whole(node: RunningNode, clients: Clients, layout: Layout) -> None:
    source = clients.publish(layout, node, "podman/parts:1.0")
    clients.login("podman", node, "login", PLAIN)
    clients.containers("podman", "manifest", "create", "list")
    clients.containers("podman", "manifest", "add", PLAIN, "--all", "list", f"docker://{source}")
    target = f"{node.host}/podman/list:1.0"
    clients.containers("podman", "manifest", "push", PLAIN, "--all", "list", f"docker://{target}")
    with node.client() as client:
        answer = client.get("/v2/podman/list/manifests/1.0")
    assert [each["digest"] for each in answer.json()["manifests"]] == layout.manifests
    clients.containers("podman", "pull", PLAIN, "--platform", "linux/arm64", target)
    (found,) = json.loads(clients.containers("podman", "inspect", target))
    assert found["Architecture"] == "arm64"


def test_runs_what_it_pulled(node: RunningNode, clients: Clients, hello: Layout) -> None:
    source = clients.publish(hello, node, "public/podman-hello:1.0")
    local = clients.containers("podman", "pull", f"oci:{hello.folder}:1.0").strip()
    try:
        clients.containers("podman", "run", "--rm", *CONFINED, local)
    except Failed as error:
        pytest.skip(f"podman runs no container on this machine, not even a local one: {error}")
    clients.containers("podman", "rmi", "--all", "--force")
    clients.containers("podman", "pull", PLAIN, source)  # nobody has signed in: it is public
    said = clients.containers("podman", "run", "--rm", *CONFINED, source)
    assert GREETING in said
    assert digest_at(node, "public/podman-hello", "1.0") == hello.index
