"""The story with real clients: skopeo pushes a runnable image, cosign signs it, podman runs it from the other side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.deployment import Deployment
from tests.tools import find, require

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(300)]
GREETING = "one image travels"
NAME = "apps/hello"


@dataclass(frozen=True)
class Clients:
    """Real programs with folders of their own."""

    home: Path
    short: Path  # podman wants a short path for its state

    def run(self, program: str, *words: str, stdin: str = "", **environment: str) -> str:
        done = subprocess.run(
            [require(program), *words],
            input=stdin,
            env={
                **os.environ,
                "HOME": str(self.home),
                "REGISTRY_AUTH_FILE": str(self.home / "auth.json"),
                **environment,
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def podman(self, *words: str, stdin: str = "") -> str:
        storage = ("--root", str(self.home / "storage"), "--runroot", str(self.short), "--storage-driver", "vfs")
        return self.run("podman", *storage, "--runtime", require("runc"), *words, stdin=stdin)


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    (tmp_path / "home").mkdir()
    with tempfile.TemporaryDirectory(prefix="tp-", ignore_cleanup_errors=True) as short:
        yield Clients(tmp_path / "home", Path(short))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A static program that prints the greeting, made by whichever compiler is here."""
    folder = tmp_path_factory.mktemp("program")
    made = folder / "hello"
    if find("cc"):
        (folder / "hello.c").write_text(f'#include <stdio.h>\nint main(void) {{ puts("{GREETING}"); return 0; }}\n')
        command, environment = [require("cc"), "-static", "-O1", "-o", str(made), "hello.c"], dict(os.environ)
    else:
        (folder / "hello.go").write_text(f'package main\nfunc main() {{ println("{GREETING}") }}\n')
        command = [require("go"), "build", "-o", str(made), "hello.go"]
        environment = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return made.read_bytes()


def test_one_image_travels(fresh: Deployment, clients: Clients, program: bytes, tmp_path: Path) -> None:
    import image as made

    layout = tmp_path / "layout"
    digest = made.make(layout, version="1.0", created="2026-01-01T00:00:00Z", program=program)
    fresh.up()
    pushed_by_skopeo(fresh, clients, layout)
    refused = fresh.towpath("promote", "-o", "json", "to-prod", f"{NAME}:1.0", user="ci-runner", expect=4)
    assert refused.error["code"] == "gate-refused"
    signed_by_cosign(fresh, clients, digest)
    fresh.towpath("promote", "to-prod", f"{NAME}:1.0", user="ci-runner")
    wait_for_us(fresh, digest)
    fresh.towpath("down", "--site", "eu")
    run_by_podman(fresh, clients, digest)
    same_bytes_by_skopeo(fresh, clients, layout, tmp_path / "pulled")
    verified_by_cosign(fresh, clients, digest)
    traced = [json.loads(line) for line in fresh.towpath("trace", "-o", "json", f"prod/{NAME}:1.0").out.splitlines()]
    assert [each["over"] for each in traced if each["kind"] == "promotion"] == ["to-prod"]
    assert "prod-everywhere" in [each["over"] for each in traced if each["kind"] == "replication"]


def pushed_by_skopeo(deployment: Deployment, clients: Clients, layout: Path) -> None:
    login = f"ci-runner:{deployment.secret('ci-runner.token')}"
    target = f"docker://{deployment.address('ci-pool-eu')}/{NAME}:1.0"
    clients.run(
        "skopeo", "copy", "--all", "--dest-tls-verify=false", "--dest-creds", login, f"oci:{layout}:1.0", target
    )


def signed_by_cosign(deployment: Deployment, clients: Clients, digest: str) -> None:
    key = shutil.copy(deployment.folder / "secrets" / "release.key", clients.home / "release.key")
    words = ("--allow-http-registry", "--registry-username=ci-runner", "-y", "--key", str(key))
    offline = ("--tlog-upload=false", "--use-signing-config=false")
    password = f"--registry-password={deployment.secret('ci-runner.token')}"
    reference = f"{deployment.address('ci-pool-eu')}/{NAME}@{digest}"
    clients.run("cosign", "sign", *words, *offline, password, reference, COSIGN_PASSWORD="", SIGSTORE_NO_CACHE="1")


def wait_for_us(deployment: Deployment, digest: str) -> None:
    """The event carries it; how soon is not this test's question."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        said = deployment.towpath("inspect", "-o", "json", f"prod-us/{NAME}:1.0", user="k8s-us", expect=None)
        if said.exit == 0:
            assert json.loads(said.out)["digest"] == digest
            return
        time.sleep(0.2)
    raise AssertionError(f"us never showed it: {(deployment.state / 'control.log').read_text()}")


def run_by_podman(deployment: Deployment, clients: Clients, digest: str) -> None:
    us, token = deployment.address("prod-us"), deployment.secret("k8s-us.token")
    clients.podman("login", "--tls-verify=false", "-u", "k8s-us", "--password-stdin", us, stdin=token)
    for reference in (f"{us}/{NAME}@{digest}", f"{us}/{NAME}:1.0"):
        clients.podman("pull", "--tls-verify=false", reference)
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        said = clients.podman("run", "--rm", "--network", "none", *limits, "--pull", "never", reference)
        assert said.strip() == GREETING


def same_bytes_by_skopeo(deployment: Deployment, clients: Clients, layout: Path, pulled: Path) -> None:
    login = f"k8s-us:{deployment.secret('k8s-us.token')}"
    source = f"docker://{deployment.address('prod-us')}/{NAME}:1.0"
    clients.run("skopeo", "copy", "--all", "--src-tls-verify=false", "--src-creds", login, source, f"oci:{pulled}:1.0")
    wanted = {each.name: each.read_bytes() for each in (layout / "blobs" / "sha256").iterdir()}
    found = {each.name: each.read_bytes() for each in (pulled / "blobs" / "sha256").iterdir()}
    assert found == wanted


def verified_by_cosign(deployment: Deployment, clients: Clients, digest: str) -> None:
    """The signature came along."""
    words = (
        "--allow-http-registry",
        "--registry-username=k8s-us",
        "--insecure-ignore-tlog",
        "--private-infrastructure",
    )
    key = ("--key", str(deployment.folder / "trust" / "release.pub"))
    password = f"--registry-password={deployment.secret('k8s-us.token')}"
    reference = f"{deployment.address('prod-us')}/{NAME}@{digest}"
    assert digest in clients.run("cosign", "verify", *words, *key, password, reference, SIGSTORE_NO_CACHE="1")
