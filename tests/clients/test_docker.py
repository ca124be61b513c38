"""Docker's daemon pushes and pulls, and its client makes lists of platforms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import GREETING
from tests.clients.daemons import Daemon, docker_daemon
from tests.clients.images import Layout, packed
from tests.clients.journal import Journal
from tests.clients.programs import CONFINED, Clients, Failed, digest_at, tags_at
from tests.nodes import SECRETS, RunningNode
from tests.tools import find

pytestmark = [pytest.mark.clients, pytest.mark.slow]
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with docker_daemon() as started:
        yield started


class Docker:
    """One docker client against the test's daemon."""

    def __init__(self, clients: Clients, daemon: Daemon, program: str = "docker") -> None:
        self._clients, self._program = clients, program
        clients.environment["DOCKER_HOST"] = f"unix://{daemon.socket}"

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        return self._clients.run(self._program, *arguments, stdin=stdin)

    def refused(self, *arguments: str, stdin: str = "") -> str:
        done = self._clients.attempt(self._program, *arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def made(self, program: Path, tag: str) -> None:
        """An image that says GREETING, from a tar: no base, no download."""
        tar = self._clients.home / "hello.tar"
        tar.write_bytes(packed("hello", program.read_bytes(), 0o755))
        self("import", "--change", 'ENTRYPOINT ["/hello"]', str(tar), tag)


@pytest.fixture
def docker(clients: Clients, daemon: Daemon, node: RunningNode) -> Docker:
    docker = Docker(clients, daemon)
    clients.login("docker", node, "login")
    return docker


def test_push_pull_by_tag_and_by_digest(node: RunningNode, docker: Docker, program: Path, seen: Journal) -> None:
    reference = f"{node.host}/docker/hello:1.0"
    docker.made(program, reference)
    pushed = re.search(r"digest: (sha256:[0-9a-f]{64})", docker("push", reference))
    assert pushed
    assert digest_at(node, "docker/hello", "1.0") == pushed[1]
    seen.assert_signed_in("dev")
    assert seen.count("PATCH", "^/v2/docker/hello/blobs/uploads/", 202) == 2, "a layer and the configuration, in chunks"
    docker("rmi", "--force", reference)
    seen.turn_page()
    docker("pull", reference)
    assert seen.count("HEAD", "^/v2/docker/hello/manifests/1.0$", 200) == 1
    docker("rmi", "--force", reference)
    by_digest = f"{node.host}/docker/hello@{pushed[1]}"
    docker("pull", by_digest)
    (found,) = json.loads(docker("image", "inspect", by_digest))
    assert found["RepoDigests"] == [by_digest]


def test_layers_that_the_registry_has_are_not_sent_again(
    node: RunningNode, docker: Docker, program: Path, seen: Journal
) -> None:
    first, second = f"{node.host}/docker/first:1.0", f"{node.host}/docker/second:1.0"
    docker.made(program, first)
    docker("push", first)
    docker("tag", first, second)
    seen.turn_page()
    assert "Mounted from docker/first" in docker("push", second)
    assert seen.count("POST", "^/v2/docker/second/blobs/uploads/", 201) == 1
    assert "Layer already exists" in docker("push", second)


def test_all_tags_of_a_repository(node: RunningNode, docker: Docker, program: Path) -> None:
    for tag in ("1.0", "1.1", "latest"):
        docker.made(program, f"{node.host}/docker/tags:{tag}")
    docker("push", "--all-tags", f"{node.host}/docker/tags")
    assert tags_at(node, "docker/tags") == ["1.0", "1.1", "latest"]
    for tag in ("1.0", "1.1", "latest"):
        docker("rmi", "--force", f"{node.host}/docker/tags:{tag}")
    docker("pull", "--all-tags", f"{node.host}/docker/tags")
    listed = docker("images", "--format", "{{.Tag}}", f"{node.host}/docker/tags")
    assert sorted(listed.split()) == ["1.0", "1.1", "latest"]


def test_one_platform_of_an_oci_index(node: RunningNode, docker: Docker, clients: Clients, layout: Layout) -> None:
    source = clients.publish(layout, node, "docker/multi:1.0")
    for architecture in ("amd64", "arm64"):
        said = docker("pull", "--platform", f"linux/{architecture}", source)
        assert f"Digest: {layout.index}" in said
        (found,) = json.loads(docker("image", "inspect", source))
        assert found["Architecture"] == architecture


@pytest.mark.parametrize("client", ["/usr/bin/docker", "docker"])
def test_a_list_of_platforms_is_made_and_pushed(
    node: RunningNode, clients: Clients, daemon: Daemon, program: Path, client: str
) -> None:
    """By Debian's client, and by another that PATH may have first: they speak to the registry themselves."""
    if find(client) is None or (client == "docker" and find(client) == find("/usr/bin/docker")):
        pytest.skip(f"there is no other docker client than {find('docker')}")
    docker = Docker(clients, daemon, client)
    clients.login(client, node, "login")
    name = f"docker/list-{len(client)}"
    parts = [f"{node.host}/{name}:{architecture}" for architecture in ("amd64", "arm64")]
    for part in parts:
        docker.made(program, part)
        docker("push", part)
    target = f"{node.host}/{name}:1.0"
    docker("manifest", "create", "--insecure", target, *parts)
    docker("manifest", "annotate", "--os", "linux", "--arch", "arm64", target, parts[1])
    said = docker("manifest", "push", "--insecure", "--purge", target)
    assert digest_at(node, name, "1.0") in said
    with node.client() as asking:
        answer = asking.get(f"/v2/{name}/manifests/1.0")
    assert answer.headers["content-type"] == LIST
    assert [each["platform"]["architecture"] for each in answer.json()["manifests"]] == ["amd64", "arm64"]
    inspected = json.loads(docker("manifest", "inspect", "--insecure", target))
    assert inspected == answer.json()


def test_runs_what_it_pulled(node: RunningNode, docker: Docker, program: Path) -> None:
    docker.made(program, "local/hello:1.0")
    try:
        docker("run", "--rm", *CONFINED, "local/hello:1.0")
    except Failed as error:
        pytest.skip(f"docker runs no container on this machine, not even a local one: {error}")
    reference = f"{node.host}/docker/runs:1.0"
    docker("tag", "local/hello:1.0", reference)
    docker("push", reference)
    docker("rmi", "--force", reference, "local/hello:1.0")
    assert GREETING in docker("run", "--rm", *CONFINED, reference)  # pulls it first


def test_who_has_signed_out_pulls_only_what_is_public(
    node: RunningNode, docker: Docker, clients: Clients, layout: Layout, seen: Journal
) -> None:
    public = clients.publish(layout, node, "public/docker:1.0")
    private = clients.publish(layout, node, "docker/private:1.0")
    assert "unauthorized" in docker.refused("login", "-u", "dev", "--password-stdin", node.host, stdin="wrong")
    docker("logout", node.host)
    seen.turn_page()
    docker("pull", public)
    assert {each["who"] for each in seen.lines(path="^/v2/public/")} == {"-"}
    assert "unauthorized" in docker.refused("pull", private)
    assert docker.refused("pull", private) == docker.refused("pull", f"{node.host}/docker/absent:1.0")


def test_a_reader_may_not_push(node: RunningNode, docker: Docker, program: Path) -> None:
    docker("login", "-u", "reader", "--password-stdin", node.host, stdin=SECRETS["reader"])
    reference = f"{node.host}/docker/denied:1.0"
    docker.made(program, reference)
    assert "denied" in docker.refused("push", reference)
    assert tags_at(node, "docker/denied") == []
