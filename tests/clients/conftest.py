"""A real node and the means to drive real clients, each with configuration folders of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.images import Layout
from tests.nodes import RunningNode, running
from tests.tools import require


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running(tmp_path_factory.mktemp("clients") / "box") as started:
        yield started


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("layout") / "image")


class Failed(AssertionError):
    """A client ended with a status other than 0; the message holds what it said."""


class Clients:
    """Runs programs by name; ``home`` holds their configuration and is thrown away."""

    def __init__(self, home: Path, short: Path) -> None:
        """``short``: a folder with a short path, which is all that podman takes for its state."""
        self.home, self.short = home, short
        self.environment = {
            **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
            "HOME": str(home),
            "DOCKER_CONFIG": str(home / "docker"),
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "XDG_RUNTIME_DIR": str(short),
        }

    def run(self, program: str, *arguments: str, stdin: str = "", seconds: float = 110) -> str:
        """What it printed. Raises Failed."""
        done = self.attempt(program, *arguments, stdin=stdin, seconds=seconds)
        if done.returncode:
            raise Failed(f"{program} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def attempt(
        self, program: str, *arguments: str, stdin: str = "", seconds: float = 110
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require(program), *arguments],
            input=stdin,
            env=self.environment,
            cwd=self.home,
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


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="tp-", ignore_cleanup_errors=True) as short:
        yield Clients(home, Path(short))
