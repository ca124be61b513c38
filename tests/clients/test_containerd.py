"""containerd pulls and pushes by way of hosts.toml, as a cluster's nodes do."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import GREETING
from tests.clients.daemons import Daemon, containerd
from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import CREDENTIALS, Clients, Failed, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]
HOSTS = """server = "http://{host}"

[host."http://{host}"]
  capabilities = ["pull", "resolve", "push"]
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with containerd() as started:
        yield started


class Ctr:
    """``ctr`` in a containerd namespace of its own, that reaches the node by hosts.toml."""

    def __init__(self, clients: Clients, daemon: Daemon, node: RunningNode, namespace: str) -> None:
        self._clients, self._base = clients, ("-a", str(daemon.socket), "-n", namespace)
        self._hosts = clients.home / "hosts"
        (self._hosts / node.host).mkdir(parents=True)
        (self._hosts / node.host / "hosts.toml").write_text(HOSTS.format(host=node.host))

    def __call__(self, *arguments: str) -> str:
        return self._clients.run("ctr", *self._base, *arguments)

    def image(self, verb: str, *arguments: str, user: str = CREDENTIALS) -> str:
        """``ctr images pull|push`` with credentials; "": without."""
        return self("images", verb, "--hosts-dir", str(self._hosts), *(("-u", user) if user else ()), *arguments)


@pytest.fixture
def ctr(clients: Clients, daemon: Daemon, node: RunningNode, request: pytest.FixtureRequest) -> Ctr:
    return Ctr(clients, daemon, node, f"n{abs(hash(request.node.name)) % 10**8}")


def test_an_image_is_pulled_whole_and_pushed_on(
    node: RunningNode, ctr: Ctr, clients: Clients, layout: Layout, seen: Journal
) -> None:
    source, target = clients.publish(layout, node, "ctr/api:1.0"), f"{node.host}/ctr/next:2.0"
    seen.turn_page()
    ctr.image("pull", "--all-platforms", source)
    seen.assert_signed_in("dev")
    assert f"{layout.index} complete (4/4)" in " ".join(ctr("images", "check").split())
    seen.turn_page()
    ctr.image("push", target, source)
    assert digest_at(node, "ctr/next", "2.0") == layout.index
    assert seen.count("POST", "^/v2/ctr/next/blobs/uploads/$", 201) == 8, "all blobs are mounted from where it pulled"
    assert seen.count("PUT", "^/v2/ctr/next/manifests/", 201) == 3


def test_one_platform(node: RunningNode, ctr: Ctr, clients: Clients, layout: Layout) -> None:
    source = clients.publish(layout, node, "ctr/platform:1.0")
    ctr.image("pull", "--platform", "linux/arm64", source)
    assert "linux/arm64" in ctr("images", "ls")
    by_digest = f"{node.host}/ctr/platform@{layout.manifests[1]}"
    ctr.image("pull", "--platform", "linux/arm64", by_digest)
    assert by_digest in ctr("images", "ls", "-q").split()


def test_what_the_registry_has_is_not_pushed_again(
    node: RunningNode, ctr: Ctr, clients: Clients, layout: Layout, seen: Journal
) -> None:
    source = clients.publish(layout, node, "ctr/again:1.0")
    ctr.image("pull", "--all-platforms", source)
    seen.turn_page()
    ctr.image("push", f"{node.host}/ctr/again:1.1", source)
    assert tags_at(node, "ctr/again") == ["1.0", "1.1"]
    assert seen.count("POST", "/blobs/uploads/") == 0


def test_without_credentials_only_what_is_public(
    node: RunningNode, ctr: Ctr, clients: Clients, layout: Layout, seen: Journal
) -> None:
    public = clients.publish(layout, node, "public/ctr:1.0")
    private = clients.publish(layout, node, "ctr/private:1.0")
    seen.turn_page()
    ctr.image("pull", public, user="")
    assert {each["who"] for each in seen.lines(path="^/v2/public/")} == {"-"}
    with pytest.raises(Failed, match="401 Unauthorized"):
        ctr.image("pull", private, user="")
    with pytest.raises(Failed, match=r"401 Unauthorized|authorization failed"):
        ctr.image("pull", private, user="dev:wrong")


def test_runs_what_it_pulled(node: RunningNode, ctr: Ctr, clients: Clients, hello: Layout, tmp_path: Path) -> None:
    archive = tmp_path / "hello.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(hello.folder, arcname=".")
    ctr("images", "import", "--index-name", "local/hello:1.0", str(archive))
    try:
        ctr("run", "--rm", "local/hello:1.0", "probe")
    except Failed as error:
        pytest.skip(f"containerd runs no container on this machine, not even a local one: {error}")
    source = clients.publish(hello, node, "ctr/hello:1.0")
    ctr.image("pull", source)
    assert GREETING in ctr("run", "--rm", source, "pulled")
