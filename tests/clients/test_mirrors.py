"""Real clients pull through a mirror, then with the upstream stopped. What they are told is word for word what
``towpath setup`` prints; upstreams: a Docker Hub of the tests, distribution 3.1.2, docker-registry 2.8.2."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.peers import D3, Missing, distribution
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from sites.served import Served
from tests.clients.daemons import containerd, docker_daemon
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients
from tests.contract.implementations import docker_registry
from tests.nodes import RunningNode, running
from tests.tools import require
from tests.upstreams.counting import CountingProxy
from tests.upstreams.hub import FakeHub
from towpath.client_setup import CLIENTS, Front, Setup

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(240)]
EVERYONE = [{"to": "everyone", "allow": ["pull"]}]
Stop = Callable[[], None]


@dataclass(frozen=True)
class Origin:
    """``host``: what people call it; ``reference``: the image there; ``stop`` makes it be away."""

    host: str
    url: str
    reference: str
    stop: Stop


def _hub(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    hub = stack.enter_context(FakeHub())
    held = hub.holdings.repositories["library/hello"]
    for path in (layout.folder / "blobs" / "sha256").iterdir():
        digest = f"sha256:{path.name}"
        if digest in (layout.index, *layout.manifests):
            kind = OCI_INDEX if digest == layout.index else OCI_MANIFEST
            held.manifests[digest] = (kind, path.read_bytes())
        else:
            held.blobs[digest] = path.read_bytes()
    held.tags["1.0"] = layout.index
    return Origin("docker.io", hub.url, "docker.io/library/hello:1.0", hub.stop)


def _filled(url: str, layout: Layout, stack: ExitStack) -> Origin:
    """A registry with the image, behind a proxy that can go away."""
    host = url.partition("://")[2]
    copy = ["copy", "--all", "--dest-tls-verify=false", f"oci:{layout.folder}:1.0", f"docker://{host}/apps/hello:1.0"]
    subprocess.run([require("skopeo"), *copy], check=True, capture_output=True)
    line = stack.enter_context(CountingProxy(host))
    return Origin("registry.example", line.url, "registry.example/apps/hello:1.0", line.stop)


def _distribution(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    try:
        return _filled(stack.enter_context(distribution(folder / "d3", D3)).url, layout, stack)
    except Missing:
        require("registry")
        raise


def _docker_registry(folder: Path, layout: Layout, stack: ExitStack) -> Origin:
    return _filled(stack.enter_context(docker_registry(folder)), layout, stack)


ORIGINS = {"hub": _hub, "distribution": _distribution, "docker-registry": _docker_registry}


@pytest.fixture(params=ORIGINS)
def origin(request: pytest.FixtureRequest, layout: Layout, tmp_path: Path) -> Iterator[Origin]:
    with ExitStack() as stack:
        yield ORIGINS[request.param](tmp_path, layout, stack)


@contextmanager
def mirror_of(origin: Origin, folder: Path) -> Iterator[RunningNode]:
    """Tags are believed for no time at all, so that an upstream that is away is noticed."""
    hub = {"official_images": True, "realms": ["127.0.0.2"]} if origin.host == "docker.io" else {}
    upstream = {"name": "origin", "url": origin.url, "hosts": [origin.host], **hub}
    settings = {"upstreams": [upstream], "tag_seconds": 0, "answer_seconds": 3}
    with running(folder, node="cache", scope="cache", kind="mirror", mirror=settings, grants=EVERYONE) as node:
        yield node


@pytest.fixture
def mirror(origin: Origin, tmp_path: Path) -> Iterator[RunningNode]:
    with mirror_of(origin, tmp_path / "mirror") as node:
        yield node


def told(client: str, mirror: RunningNode, origin: Origin) -> Setup:
    """What ``towpath setup`` prints for this client. A server of this name answers nobody here."""
    served = Served(host=origin.host, server=f"https://{origin.host}", prefixes=("",), source="origin")
    return CLIENTS[client](Front("cache", mirror.url, (served,), anonymous=True))


def assert_it_answered(journal: Journal) -> None:
    """The pull since the last look came from the mirror."""
    assert journal.count(path="^/v2/.*/manifests/", status=200) and not journal.count(status=503)
    journal.turn_page()


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
def test_clients_of_registries_conf(
    client: str, origin: Origin, mirror: RunningNode, clients: Clients, layout: Layout, tmp_path: Path
) -> None:
    for file in told(client, mirror, origin).files:
        path = clients.home / ".config" / Path(file.path).relative_to("/etc")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)

    def pull(number: int) -> None:
        if client == "skopeo":
            target = tmp_path / f"copy{number}"
            clients.run("skopeo", "copy", "--all", f"docker://{origin.reference}", f"dir:{target}")
            assert len(list(target.iterdir())) >= 3 + len(layout.manifests)
        else:
            clients.containers(client, "pull", origin.reference)
            clients.containers(client, "rmi", "--all", "--force")

    journal = Journal(mirror)
    for number in (1, 2):
        pull(number)
        assert_it_answered(journal)
        origin.stop()


def test_containerd(origin: Origin, mirror: RunningNode, clients: Clients, layout: Layout) -> None:
    """It says with ``?ns=`` which registry it means."""
    hosts = clients.home / "certs.d"
    for file in told("containerd", mirror, origin).files:
        path = hosts / Path(file.path).relative_to("/etc/containerd/certs.d")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
    journal = Journal(mirror)
    with containerd() as daemon:
        for number in (1, 2):
            ctr = ("-a", str(daemon.socket), "-n", f"n{number}")
            clients.run("ctr", *ctr, "images", "pull", "--all-platforms", "--hosts-dir", str(hosts), origin.reference)
            assert f"{layout.index} complete" in " ".join(clients.run("ctr", *ctr, "images", "check").split())
            clients.run("ctr", *ctr, "images", "rm", "--sync", origin.reference)
            assert_it_answered(journal)
            origin.stop()


def test_docker(layout: Layout, clients: Clients, tmp_path: Path) -> None:
    """Its daemon asks mirrors for Docker Hub's images alone."""
    with ExitStack() as stack:
        origin = _hub(tmp_path, layout, stack)
        mirror = stack.enter_context(mirror_of(origin, tmp_path / "mirror"))
        (settings,) = [each.content for each in told("docker", mirror, origin).files]
        daemon = stack.enter_context(docker_daemon(settings))
        clients.environment["DOCKER_HOST"] = f"unix://{daemon.socket}"
        journal = Journal(mirror)
        for _ in range(2):
            assert layout.index in clients.run("docker", "pull", "hello:1.0")
            clients.run("docker", "rmi", "--force", "hello:1.0")
            assert_it_answered(journal)
            origin.stop()
