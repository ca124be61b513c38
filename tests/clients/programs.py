"""Drives real clients: each test gets a home folder of its own, so that no client sees another's login."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.clients.images import Layout
from tests.nodes import SECRETS, RunningNode
from tests.tools import require

CREDENTIALS = f"dev:{SECRETS['dev']}"
PLAIN = "--tls-verify=false"
# What a container needs on kernels with low limits and no bridge.
CONFINED = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Failed(AssertionError):
    """A client ended with a status other than 0; the message holds what it said."""


class Clients:
    """Runs programs by name; ``home`` holds their configuration and is thrown away."""

    def __init__(self, home: Path, short: Path) -> None:
        """``short``: a folder with a short path, which is all that podman takes for its state."""
        self.home, self.short = home, short
        (home / "auth.json").write_text("{}")  # podman asks for the file before anybody signs in
        self.environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / "docker"),
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "XDG_RUNTIME_DIR": str(short),
        }

    def run(
        self, program: str, *arguments: str, stdin: str = "", seconds: float = 110, folder: Path | None = None
    ) -> str:
        """What it printed. ``folder``: where it runs, else the home folder. Raises Failed."""
        done = self.attempt(program, *arguments, stdin=stdin, seconds=seconds, folder=folder)
        if done.returncode:
            raise Failed(f"{program} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def attempt(
        self, program: str, *arguments: str, stdin: str = "", seconds: float = 110, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require(program), *arguments],
            input=stdin,
            env=self.environment,
            cwd=folder or self.home,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def containers(self, program: str, *arguments: str, stdin: str = "") -> str:
        """podman or buildah over storage of its own."""
        root = ("--root", str(self.home / "storage"), "--runroot", str(self.short), "--storage-driver", "vfs")
        runtime = ("--runtime", "runc") if program == "podman" else ()
        return self.run(program, *root, *runtime, *arguments, stdin=stdin)

    def publish(self, layout: Layout, node: RunningNode, name: str) -> str:
        """Pushes all of a layout as ``repository:tag``, with skopeo. The whole reference."""
        reference = f"{node.host}/{name}"
        creds = ("--dest-creds", CREDENTIALS, "--dest-tls-verify=false")
        self.run("skopeo", "copy", "--all", *creds, f"oci:{layout.folder}:1.0", f"docker://{reference}")
        return reference

    def login(self, program: str, node: RunningNode, *arguments: str, name: str = "dev") -> None:
        """``program ... -u NAME --password-stdin HOST``, as all but two of the clients spell it."""
        self.run(program, *arguments, "-u", name, "--password-stdin", node.host, stdin=SECRETS[name])


def digest_at(node: RunningNode, repository: str, reference: str) -> str:
    """What the node says that a tag is."""
    with node.client() as client:
        answer = client.head(f"/v2/{repository}/manifests/{reference}")
    assert answer.status_code == 200, f"{repository}:{reference}: {answer.status_code}"
    return str(answer.headers["docker-content-digest"])


def tags_at(node: RunningNode, repository: str) -> list[str]:
    """The tags that the node lists; none for a repository that is not there."""
    with node.client() as client:
        answer = client.get(f"/v2/{repository}/tags/list")
    return list(answer.json()["tags"]) if answer.status_code == 200 else []
