"""Real clients pull through a mirror, then with the upstream stopped. The mirror is a topology's, brought up by
``towpath up``; what ``towpath setup`` prints is written where it says, in an /etc of the test's own, and run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.apart import apart
from tests.clients.daemons import buildkitd, containerd, docker_daemon
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.origins import ORIGINS, Origin
from tests.clients.programs import Clients
from tests.journeys.deployment import Deployment, free_port

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(240)]
# Tags are believed for no time at all, so that an upstream that is away is noticed.
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: setup}}
sites: {{eu: {{hosts: {{eu-1: {{}}}}}}}}
users: {{ci: {{robot: true, token: {{file: secrets/ci.token}}}}}}
scopes:
  pool: {{class: ci, grants: [{{to: ci, allow: [pull, push]}}]}}
nodes:
  origin: {origin}
  pool-eu: {{kind: local, scope: pool, site: eu, host: eu-1, port: {pool}}}
  cache: {{kind: mirror, upstreams: [origin], tagTtl: none, answerWithin: 3s, site: eu, host: eu-1, port: {cache}}}
  all:
    kind: virtual
    members: [pool-eu, cache]
    owns: {{'team/**': [pool-eu], '**': [cache]}}
    pushTo: pool-eu
    site: eu
    host: eu-1
    port: {all}
"""


@dataclass(frozen=True)
class Site:
    """A topology that runs. ``origin``: the registry outside that its mirror stands before."""

    deployment: Deployment
    origin: Origin

    def told(self, client: str, node: str = "cache") -> str:
        """Writes the files that ``towpath setup`` prints; the commands that it prints."""
        files, commands = printed(self.deployment.towpath("setup", client, node).out)
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        assert files
        return commands

    def journal(self, node: str = "cache") -> Journal:
        return Journal(self.deployment.node(node))


def printed(text: str) -> tuple[dict[Path, str], str]:
    """As a person reads it: below each path its file, below ``# then`` what to run."""
    found: dict[str, list[str]] = {}
    below = ""
    for line in text.splitlines():
        if line.startswith("# "):
            below = line.removeprefix("# ")
        else:
            found.setdefault(below, []).append(line)
    files = {Path(path): "\n".join(lines) + "\n" for path, lines in found.items() if path.startswith("/etc/")}
    return files, "\n".join(found.get("then", []))


@pytest.fixture(params=ORIGINS)
def site(request: pytest.FixtureRequest, layout: Layout, tmp_path: Path) -> Iterator[Site]:
    yield from up(tmp_path, layout, request.param)


@pytest.fixture
def hub_site(layout: Layout, tmp_path: Path) -> Iterator[Site]:
    yield from up(tmp_path, layout, "hub")


def up(folder: Path, layout: Layout, kind: str) -> Iterator[Site]:
    deployment = Deployment(folder / "here")
    deployment.folder.mkdir()
    with ExitStack() as stack:
        origin = ORIGINS[kind](folder, layout, stack)
        ports = {name: free_port() for name in ("pool", "cache", "all")}
        deployment.file.write_text(TOPOLOGY.format(origin=origin.node, **ports))
        stack.callback(deployment.close)
        deployment.up()
        yield Site(deployment, origin)


def assert_it_answered(journal: Journal) -> None:
    """The pull since the last look came from the mirror, and nothing was refused."""
    assert journal.count(path="^/v2/.*/manifests/", status=200) and not journal.count(status=503)
    assert journal.spurned() == []
    journal.turn_page()


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
@apart()
def test_clients_of_registries_conf(client: str, site: Site, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    site.told(client)
    journal = site.journal()
    for number in (1, 2):
        if client == "skopeo":
            target = tmp_path / f"copy{number}"
            clients.run("skopeo", "copy", "--all", f"docker://{site.origin.reference}", f"dir:{target}")
            assert len(list(target.iterdir())) >= 3 + len(layout.manifests)
        else:
            clients.containers(client, "pull", site.origin.reference)
            clients.containers(client, "rmi", "--all", "--force")
        assert_it_answered(journal)
        site.origin.stop()


@apart()
def test_containerd(site: Site, clients: Clients, layout: Layout) -> None:
    """It says with ``?ns=`` which registry it means."""
    site.told("containerd")
    journal, image = site.journal(), site.origin.reference
    with containerd() as daemon:
        for number in (1, 2):
            ctr = ("-a", str(daemon.socket), "-n", f"n{number}")
            pull = ("images", "pull", "--all-platforms", "--hosts-dir", "/etc/containerd/certs.d")
            clients.run("ctr", *ctr, *pull, image)
            assert f"{layout.index} complete" in " ".join(clients.run("ctr", *ctr, "images", "check").split())
            clients.run("ctr", *ctr, "images", "rm", "--sync", image)
            assert_it_answered(journal)
            site.origin.stop()


@apart()
def test_a_kubernetes_node(site: Site, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    """A kubelet's own call: PullImage of the container runtime interface."""
    site.told("kubernetes")
    journal, nobody = site.journal(), tmp_path / "config.json"
    nobody.write_text('{"auths": {}}')
    for _ in (1, 2):
        with containerd(cri=True, hosts="/etc/containerd/certs.d") as daemon:
            assert layout.config in clients.run("cri-pull", str(daemon.socket), site.origin.reference, str(nobody))
        assert_it_answered(journal)
        site.origin.stop()


@apart()
def test_buildkit(site: Site, clients: Clients, hello: Layout, tmp_path: Path) -> None:
    """buildkitd with the file that it reads by default; a build FROM the image."""
    site.told("buildkit")
    dockerfile(tmp_path, site.origin.reference)
    journal = site.journal()
    for number in (1, 2):
        with buildkitd() as daemon:
            address = f"unix://{daemon.socket}"
            build = (
                "build",
                "--frontend=dockerfile.v0",
                f"--local=context={tmp_path}",
                f"--local=dockerfile={tmp_path}",
            )
            target = tmp_path / f"built{number}"
            clients.run("buildctl", "--addr", address, *build, f"--output=type=local,dest={target}", seconds=200)
            assert (target / "own.txt").read_text() == "own"
            assert (target / "base.txt").exists(), "it stands on the image"
        assert_it_answered(journal)
        site.origin.stop()


def dockerfile(folder: Path, image: str) -> None:
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY own.txt /own.txt\n")
    (folder / "own.txt").write_text("own")


@apart()
def test_docker(hub_site: Site, layout: Layout, clients: Clients, tmp_path: Path) -> None:
    """Its daemon asks mirrors for Docker Hub's images alone; so does the BuildKit within it."""
    hub_site.told("docker")
    dockerfile(tmp_path, "hello:1.0")
    journal, builder = hub_site.journal(), with_buildkit(clients)
    with docker_daemon(Path("/etc/docker/daemon.json")) as daemon:
        clients.environment |= {"DOCKER_HOST": f"unix://{daemon.socket}", "DOCKER_BUILDKIT": "1"}
        for number in (1, 2):
            assert layout.index in clients.run("docker", "pull", "hello:1.0")
            clients.run("docker", "rmi", "--force", "hello:1.0")
            assert_it_answered(journal)
            clients.run(builder, "build", "--no-cache", "--tag", f"built:{number}", str(tmp_path))
            layers = json.loads(clients.run("docker", "inspect", f"built:{number}"))[0]["RootFS"]["Layers"]
            assert len(layers) == 4
            clients.run("docker", "rmi", "--force", f"built:{number}")
            clients.run(builder, "builder", "prune", "--all", "--force")
            assert_it_answered(journal)
            hub_site.origin.stop()


def with_buildkit(clients: Clients) -> str:
    """A docker that builds by the daemon's BuildKit: of 20.10 itself, later ones by a plugin that may not be there."""
    folders = [Path(each) for each in os.environ["PATH"].split(os.pathsep)]
    for each in (str(folder / "docker") for folder in folders if (folder / "docker").exists()):
        alone = "version 20.10." in clients.run(each, "--version")
        if alone or not clients.attempt(each, "buildx", "version").returncode:
            return each
    pytest.skip("no docker here builds with BuildKit")


@pytest.mark.parametrize("client", ["docker", "podman", "skopeo"])
@apart()
def test_one_address_for_pulls_and_pushes(client: str, hub_site: Site, clients: Clients, layout: Layout) -> None:
    """Through a virtual: Docker Hub's image comes by its own name, ours is pushed. The login is as it was printed."""
    commands = hub_site.told(client, "all").splitlines()
    clients.environment |= hub_site.deployment.environment("ci")
    ours = f"{hub_site.deployment.address('all')}/team/hello:1.0"
    with ExitStack() as stack:
        if client == "docker":
            daemon = stack.enter_context(docker_daemon(Path("/etc/docker/daemon.json")))
            clients.environment["DOCKER_HOST"] = f"unix://{daemon.socket}"
            assert commands.pop(0) == "systemctl reload docker"
        for command in commands:
            clients.run("bash", "-ec", command)
        push(client, clients, hub_site.origin.reference, ours)
    pool = hub_site.deployment.address("pool-eu")
    creds = ("--tls-verify=false", "--creds", f"ci:{hub_site.deployment.secret('ci.token')}")
    there = clients.run("skopeo", "inspect", "--raw", *creds, f"docker://{pool}/team/hello:1.0")
    assert json.loads(there)["config"]["digest"] == layout.config


def push(client: str, clients: Clients, image: str, ours: str) -> None:
    if client == "skopeo":
        clients.run("skopeo", "copy", f"docker://{image}", f"docker://{ours}")
        return
    run = partial(clients.run, "docker") if client == "docker" else partial(clients.containers, "podman")
    run("pull", image)
    run("tag", image, ours)
    run("push", ours)
