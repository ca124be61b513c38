"""Signing in once: the clients then push and pull by themselves, and a cluster gets a pull secret."""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.daemons import containerd
from tests.journeys.deployment import TOWPATH, Deployment
from tests.tools import require

pytestmark = [pytest.mark.slow, pytest.mark.clients, pytest.mark.timeout(240)]


def run(home: Path, *command: str, expect: int = 0) -> str:
    """As a person with this home, who has signed in nowhere else."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TMPDIR": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == expect, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def signed_in(running: Deployment, home: Path, user: str, *words: str) -> dict[str, Any]:
    """Each node where the user is now known, by name."""
    file = home / ".docker" / "config.json"
    out = running.towpath("login", *words, "--auth-file", str(file), "-o", "json", user=user).out
    return {each["node"]: each for each in map(json.loads, out.splitlines())}


def test_skopeo_and_podman_work_after_it(running: Deployment, image: str, tmp_path: Path) -> None:
    found = signed_in(running, tmp_path, "ci-runner")
    assert set(found) >= {"ci-pool-eu", "prod-eu"} and "sandbox-eu" not in found, (
        "where its groups are granted something"
    )
    assert (tmp_path / ".docker" / "config.json").stat().st_mode & 0o777 == 0o600
    pushed = f"docker://{found['ci-pool-eu']['registry']}/apps/signed-in:1.0"
    run(tmp_path, require("skopeo"), "copy", "--all", "--dest-tls-verify=false", image, pushed)
    run(tmp_path, require("skopeo"), "inspect", "--tls-verify=false", pushed)
    with tempfile.TemporaryDirectory(prefix="tp-") as short:  # podman takes no long path for its state
        podman = [require("podman"), "--root", f"{short}/root", "--runroot", f"{short}/run", "--storage-driver=vfs"]
        run(tmp_path, *podman, "--runtime=runc", "pull", "--tls-verify=false", pushed)


def test_a_wrong_secret_writes_nothing(running: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    words = ("login", "ci-pool-eu", "--user", "ci-runner", "--auth-file", str(file), "--password-stdin", "-o", "json")
    wrong, right = "not-the-secret-of-it\n", f"{running.secret('ci-runner.token')}\n"
    for secret, expected in ((wrong, 4), (right, 0)):
        done = subprocess.run(
            [*TOWPATH, *words], cwd=running.folder, env=running.environment(), input=secret, text=True, check=False
        )
        assert (done.returncode, file.exists()) == (expected, expected == 0)


def test_bad_words(running: Deployment, tmp_path: Path) -> None:
    auth = ("--auth-file", str(tmp_path / "auth.json"), "-o", "json")
    assert running.towpath("login", *auth, expect=2).error["code"] == "no-user"
    assert running.towpath("login", "--user", "dev", *auth, expect=2).error["code"] == "no-secret"
    assert running.towpath("login", "nowhere", *auth, user="dev", expect=2).error["code"] == "unknown-name"
    kube = ("kube-secret", "-o", "json", "--user")
    assert running.towpath(*kube, "nobody", expect=2).error["code"] == "unknown-name"
    assert running.towpath(*kube, "dev", expect=2).error["code"] == "no-secret"
    assert running.towpath(*kube, "k8s-eu", "--name", "Pull_Secret", expect=2).error["code"] == "not-a-name"


def test_a_pull_secret_of_a_robot_lets_it_pull_where_it_may(running: Deployment, image: str, tmp_path: Path) -> None:
    secret = json.loads(running.towpath("kube-secret", "--user", "k8s-eu", "--namespace", "apps").out)
    assert (secret["type"], secret["metadata"]) == (
        "kubernetes.io/dockerconfigjson",
        {"name": "towpath-pull", "namespace": "apps"},
    )
    config = base64.b64decode(secret["data"][".dockerconfigjson"])
    assert set(json.loads(config)["auths"]) == {running.address("prod-eu")}, "the node of its site alone"
    file = tmp_path / "config.json"
    file.write_bytes(config)
    promoted(running, image)
    pulled = f"{running.address('prod-eu')}/apps/pulled:1.0"
    with containerd(cri=True) as daemon:
        cri = [require("cri-pull"), str(daemon.socket), pulled, str(file)]
        run(tmp_path, *cri)
        file.write_text(json.dumps({"auths": {}}))
        run(tmp_path, *cri, expect=1)


def promoted(running: Deployment, image: str) -> None:
    """prod has apps/pulled:1.0, signed, by the edge that leads there."""
    running.towpath("copy", image, "ci-pool/apps/pulled:1.0", user="ci-runner")
    running.towpath("sign", "--key", "secrets/release.key", "ci-pool/apps/pulled:1.0", user="ci-runner")
    running.towpath("promote", "to-prod", "apps/pulled:1.0", "--wait", user="ci-runner")
