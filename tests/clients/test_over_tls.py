"""More clients at a node that speaks TLS itself, each told of the authority in its own way (test_tls_and_proxies.py has
skopeo, podman and crane)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.clients.daemons import containerd, docker_daemon
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import CREDENTIALS, Clients, digest_at, tags_at
from tests.nodes import SECRETS, RunningNode, running

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("tls")
    with running(folder / "box", tls=authority.issue(folder / "pair"), trust=authority.trusted()) as started:
        yield started


@pytest.fixture
def pushed(node: RunningNode, clients: Clients, layout: Layout, authority: Authority) -> str:
    """What skopeo has pushed: a reference."""
    trusting = ("--dest-cert-dir", str(authority.file.parent), "--dest-creds", CREDENTIALS)
    source, target = f"oci:{layout.folder}:1.0", f"{node.host}/tls/api:1.0"
    clients.run("skopeo", "copy", "--all", *trusting, source, f"docker://{target}")
    assert digest_at(node, "tls/api", "1.0") == layout.index
    return target


def test_oras(node: RunningNode, clients: Clients, authority: Authority) -> None:
    ca = ("--ca-file", str(authority.file))
    clients.login("oras", node, "login", *ca)
    (clients.home / "notes.txt").write_text("what is new\n" * 100_000)
    clients.run("oras", "push", *ca, f"{node.host}/tls/oras:1.0", "notes.txt:text/plain")
    (clients.home / "out").mkdir()
    clients.run("oras", "pull", *ca, "-o", "out", f"{node.host}/tls/oras:1.0")
    assert (clients.home / "out" / "notes.txt").read_bytes() == (clients.home / "notes.txt").read_bytes()


def test_regctl(node: RunningNode, clients: Clients, pushed: str, authority: Authority, layout: Layout) -> None:
    clients.run("regctl", "registry", "set", "--cacert", authority.file.read_text(), node.host)
    clients.run("regctl", "registry", "login", "-u", "dev", "--pass-stdin", node.host, stdin=SECRETS["dev"])
    clients.run("regctl", "image", "copy", pushed, f"{node.host}/tls/regctl:1.0")
    assert digest_at(node, "tls/regctl", "1.0") == layout.index


def test_docker(node: RunningNode, clients: Clients, pushed: str, seen: Journal) -> None:
    """On loopback the daemon asks for no authority, but it tries TLS first, and stays with it."""
    with docker_daemon() as daemon:
        clients.environment["DOCKER_HOST"] = f"unix://{daemon.socket}"
        clients.login("docker", node, "login")
        seen.turn_page()
        clients.run("docker", "pull", pushed)
        clients.run("docker", "tag", pushed, f"{node.host}/tls/docker:1.0")
        clients.run("docker", "push", f"{node.host}/tls/docker:1.0")
    assert tags_at(node, "tls/docker") == ["1.0"]
    seen.assert_signed_in("dev")


def test_containerd(node: RunningNode, clients: Clients, pushed: str, authority: Authority, layout: Layout) -> None:
    hosts = clients.home / "hosts" / node.host
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(
        f'server = "{node.url}"\n[host."{node.url}"]\n'
        f'capabilities = ["pull", "resolve", "push"]\nca = "{authority.file}"\n'
    )
    given = ("--hosts-dir", str(hosts.parent), "-u", CREDENTIALS)
    with containerd() as daemon:
        clients.run("ctr", "-a", str(daemon.socket), "images", "pull", *given, "--all-platforms", pushed)
        target = f"{node.host}/tls/ctr:1.0"
        clients.run("ctr", "-a", str(daemon.socket), "images", "push", *given, target, pushed)
    assert digest_at(node, "tls/ctr", "1.0") == layout.index
