"""The image of a node: built from our Containerfile without a network, on a base that one of our own nodes serves, and
run as the rendered Compose file says; killed, it comes back with what it held."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.images import Layout
from tests.clients.programs import CREDENTIALS, PLAIN, Clients, Failed
from tests.lab import rootfs
from tests.nodes import PASSWORD, RunningNode, free_port, users
from tests.tools import require
from towpath.main import run

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(900)]
TOP = Path(__file__).resolve().parents[2]
WHEELS = TOP / ".tools" / "wheels"
USER = 10001
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: boxed, owner: platform}}
sites: {{here: {{hosts: {{one: {{address: 127.0.0.1, failureDomain: a}}}}}}}}
users: {{dev: {{password: {{env: DEV}}}}}}
scopes: {{pool: {{class: ci, grants: [{{to: dev, allow: [pull, push]}}]}}}}
nodes: {{box: {{kind: local, scope: pool, site: here, host: one, port: {port}}}}}
"""
# As podman-compose calls podman: storage of the test's own, no bridge (not every kernel has one), and low limits.
PODMAN = """#!{python}
import os, sys
given = sys.argv[1:]
if given[:1] == ["run"]:
    for flag in ("--net", "--network-alias", "-p"):
        while flag in given:
            at = given.index(flag)
            del given[at : at + 2]
    given[1:1] = ["--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
os.execv("{podman}", ["podman", *{options!r}, *given])
"""


class Box:
    """The Compose project of one node, and the image that it runs."""

    def __init__(self, clients: Clients) -> None:
        self.clients, self.folder, self.port = clients, clients.home / "machine", free_port()
        self.podman = clients.home / "bin" / "podman"
        clients.environment["DISABLE_HC_SYSTEMD"] = "true"  # health is asked by the test: no systemd need be here
        self.podman.parent.mkdir()
        options = ["--root", str(clients.home / "storage"), "--runroot", str(clients.short)]
        options += ["--storage-driver", "vfs", "--runtime", "runc"]
        self.podman.write_text(PODMAN.format(python=sys.executable, podman=require("podman"), options=options))
        self.podman.chmod(0o755)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def render(self, image: str) -> None:
        topology = self.clients.home / "topology.yaml"
        topology.write_text(TOPOLOGY.format(port=self.port))
        assert run(["render", "compose", "--image", image, "--to", str(self.folder), "-f", str(topology)]) == 0
        for each in [*(self.folder / "box").rglob("*"), self.folder / "box"]:
            os.chown(each, USER, USER)

    def compose(self, *words: str) -> str:
        named = ("--podman-path", str(self.podman), "-p", "boxed", "-f", str(self.folder / "compose.yaml"))
        return self.clients.run("podman-compose", *named, *words, seconds=400, folder=self.folder)

    def inside(self, *words: str) -> str:
        return self.run("exec", "boxed_box_1", *words)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [str(self.podman), *words], env=self.clients.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"podman {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def wait(self) -> None:
        """Until it serves; what it said if it does not."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                if httpx.get(f"http://{self.host}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        raise Failed(self.run("logs", "boxed_box_1"))


@pytest.fixture
def box(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    if os.geteuid() != 0:
        pytest.skip("files of another user, and a base image's root, need root")
    if sys.version_info[:2] != (3, 11) or not WHEELS.is_dir():
        pytest.skip(
            "the base is bookworm's Python 3.11: scripts/install-clients, run by a Python 3.11, fetches its wheels"
        )
    monkeypatch.setenv("DEV", str(users()["dev"]["password_bcrypt"]))
    made = Box(clients)
    try:
        yield made
    finally:
        subprocess.run([made.podman, "rm", "-fa"], env=clients.environment, capture_output=True, check=False)


def base(clients: Clients, node: RunningNode) -> str:
    """Bookworm's python3 with pip, as python:3.11-slim has them, pushed to our node; its reference there."""
    top = clients.home / "base"
    top.mkdir()
    wanted = ("./usr", "./bin", "./sbin", "./lib", "./lib64", "./etc", "./tmp")
    subprocess.run(["tar", "--zstd", "-xf", str(rootfs.archive()), *wanted], cwd=top, check=True, capture_output=True)
    for each in ("share", "sbin", "include", "lib/systemd", "lib/udev"):
        shutil.rmtree(top / "usr" / each, ignore_errors=True)
    import ensurepip

    (bundled,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    with zipfile.ZipFile(bundled) as wheel:
        wheel.extractall(top / "usr" / "lib" / "python3" / "dist-packages")
    (top / "etc" / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    working = clients.containers("buildah", "from", "scratch").strip()
    clients.containers("buildah", "add", "-q", working, str(top), "/")
    clients.containers("buildah", "config", "--env", "PATH=/usr/bin:/bin", working)
    reference = f"{node.host}/base/python:3.11"
    clients.containers("buildah", "commit", "-q", "--rm", working, reference)
    clients.login("buildah", node, "login", PLAIN)
    clients.containers("buildah", "push", "-q", PLAIN, reference)
    clients.containers("buildah", "rmi", "--all", "--force")
    shutil.rmtree(top)
    return reference


def built(clients: Clients, node: RunningNode) -> str:
    """The image of our Containerfile; pip is offered the wheels and no index."""
    words = ("--isolation", "chroot", "--build-arg", f"BASE={base(clients, node)}", PLAIN, "-v", f"{WHEELS}:/wheels:ro")
    image = "localhost/towpath:1"
    root = ("--root", str(clients.home / "storage"), "--runroot", str(clients.short), "--storage-driver", "vfs")
    clients.run("buildah", *root, "bud", "-q", *words, "-t", image, str(TOP), seconds=600)
    return image


def test_the_image_serves_as_compose_runs_it_and_keeps_what_it_holds(
    node: RunningNode, clients: Clients, box: Box, layout: Layout
) -> None:
    require("podman-compose")
    box.render(built(clients, node))
    box.compose("up", "-d")
    box.wait()
    (found,) = json.loads(box.run("inspect", "boxed_box_1"))
    assert (found["Config"]["User"], found["HostConfig"]["ReadonlyRootfs"]) == (f"{USER}:{USER}", True)
    assert found["EffectiveCaps"] in (None, [])
    assert box.inside("python3", "-c", "import os; print(os.getuid(), os.access('/etc', os.W_OK))") == f"{USER} False\n"
    box.run("healthcheck", "run", "boxed_box_1")
    answer = httpx.get(f"http://{box.host}/v2/")
    assert (answer.status_code, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")
    creds = (f"--dest-creds={CREDENTIALS}", "--dest-tls-verify=false")
    clients.run("skopeo", "copy", "--all", *creds, f"oci:{layout.folder}:1.0", f"docker://{box.host}/apps/api:1.0")
    box.run("kill", "boxed_box_1")
    box.compose("start")
    box.wait()
    clients.run("crane", "auth", "login", box.host, "-u", "dev", "-p", PASSWORD)
    assert clients.run("crane", "digest", "--insecure", f"{box.host}/apps/api:1.0").strip() == layout.index
    clients.run("crane", "pull", "--insecure", f"{box.host}/apps/api:1.0", str(clients.home / "pulled.tar"))
