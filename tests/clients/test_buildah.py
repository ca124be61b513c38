"""buildah makes images from nothing and pushes them, one platform or several."""

from __future__ import annotations

import pytest

from tests.clients.journal import Journal
from tests.clients.programs import PLAIN, Clients, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]


def built(clients: Clients, architecture: str = "amd64") -> str:
    """A working container with one file and a label; its name."""
    (clients.home / "hello.txt").write_text(f"hello {architecture}\n")
    working = clients.containers("buildah", "from", "scratch").strip()
    clients.containers("buildah", "copy", working, str(clients.home / "hello.txt"), "/hello.txt")
    clients.containers("buildah", "config", "--arch", architecture, "--label", "team=tests", working)
    return working


def test_an_image_from_scratch(node: RunningNode, clients: Clients, seen: Journal) -> None:
    clients.login("buildah", node, "login", PLAIN)
    reference = f"{node.host}/buildah/api:1.0"
    clients.containers("buildah", "commit", built(clients), reference)
    clients.containers("buildah", "push", "--digestfile", str(clients.home / "digest"), PLAIN, reference)
    assert digest_at(node, "buildah/api", "1.0") == (clients.home / "digest").read_text()
    seen.assert_signed_in("dev")
    clients.containers("buildah", "rmi", "--all", "--force")
    again = clients.containers("buildah", "from", PLAIN, "--pull-always", reference).strip()
    assert "team" in clients.containers("buildah", "inspect", "--format", "{{.OCIv1.Config.Labels}}", again)


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_two_platforms_in_one_list(node: RunningNode, clients: Clients, form: str) -> None:
    clients.login("buildah", node, "login", PLAIN)
    for architecture in ("amd64", "arm64"):
        working = built(clients, architecture)
        kind = "docker" if form == "v2s2" else "oci"
        clients.containers("buildah", "commit", "--format", kind, "--manifest", "list", working)
    target = f"docker://{node.host}/buildah/list-{form}:1.0"
    clients.containers("buildah", "manifest", "push", "--all", "--format", form, PLAIN, "list", target)
    with node.client() as client:
        answer = client.get(f"/v2/buildah/list-{form}/manifests/1.0")
        listed = answer.json()["manifests"]
        children = [client.get(f"/v2/buildah/list-{form}/manifests/{each['digest']}") for each in listed]
    assert [each["platform"]["architecture"] for each in listed] == ["amd64", "arm64"]
    list_type = "vnd.docker.distribution.manifest.list.v2" if form == "v2s2" else "vnd.oci.image.index.v1"
    assert answer.headers["content-type"] == f"application/{list_type}+json"
    assert [each.status_code for each in children] == [200, 200]
    assert tags_at(node, f"buildah/list-{form}") == ["1.0"]
