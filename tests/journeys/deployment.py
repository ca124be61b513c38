"""A copy of the quickstart in a folder of its own, on free ports, driven through the real command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TOP = Path(__file__).resolve().parent.parent.parent
TOWPATH = [sys.executable, "-P", "-m", "towpath"]
SITES = ("127.0.1.1", "127.0.2.1")


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    exit: int
    out: str
    err: str

    @property
    def error(self) -> dict[str, Any]:
        """The error of a command that was run with ``-o json``."""
        return dict(json.loads(self.err.strip().splitlines()[-1])["error"])


@dataclass
class DeployedNode:
    """A node that ``towpath up`` has started."""

    url: str
    log: Path

    def client(self, name: str | None = None) -> httpx.Client:
        """Asks it as nobody in particular."""
        assert name is None
        return httpx.Client(base_url=self.url, trust_env=False)


@dataclass
class Deployment:
    folder: Path

    @classmethod
    def of_quickstart(cls, folder: Path) -> Deployment:
        ignored = shutil.ignore_patterns(".towpath", "secrets", "trust")
        shutil.copytree(TOP / "examples" / "quickstart", folder, ignore=ignored)
        made = cls(folder)
        ports = {port: free_port() for port in ("5001", "5002", "5003", "5005")}
        made.file.write_text(re.sub(r"port: (\d+)", lambda found: f"port: {ports[found[1]]}", made.file.read_text()))
        return made

    @property
    def file(self) -> Path:
        return self.folder / "topology.yaml"

    @property
    def state(self) -> Path:
        return self.folder / ".towpath"

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def address(self, node: str) -> str:
        """HOST:PORT"""
        known = json.loads((self.state / "addresses.json").read_text())
        return str(known[node]["url"]).removeprefix("http://")

    def node(self, name: str) -> DeployedNode:
        return DeployedNode(f"http://{self.address(name)}", self.state / "nodes" / name / "node.log")

    def environment(self, user: str = "") -> dict[str, str]:
        """``user``: that user's secret stands in it too."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
        if user:
            file = f"{user}.password" if (self.folder / "secrets" / f"{user}.password").exists() else f"{user}.token"
            clean |= {"TOWPATH_USER": user, "TOWPATH_TOKEN": self.secret(file)}
        return clean

    def towpath(self, *words: str, user: str = "", expect: int | None = 0) -> Said:
        """Runs one command; ``expect`` None: any exit status."""
        done = subprocess.run(
            [*TOWPATH, *words], cwd=self.folder, env=self.environment(user), capture_output=True, text=True, check=False
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert expect is None or said.exit == expect, (
            f"towpath {' '.join(words)}: exit {said.exit}\n{said.out}{said.err}"
        )
        return said

    def begin(self, *words: str, user: str = "") -> subprocess.Popen[str]:
        """A command that goes on while the test does something."""
        return subprocess.Popen(
            [*TOWPATH, *words],
            cwd=self.folder,
            env=self.environment(user),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self) -> None:
        self.towpath("up", "--detach", "--create-secrets")

    def pids(self) -> dict[str, int]:
        """The processes that pid files name, alive or not."""
        files = [*self.state.glob("nodes/*/pid"), *self.state.glob("control.pid")]
        return {
            (each.parent.name if each.name == "pid" else "control"): json.loads(each.read_text())["pid"]
            for each in files
        }

    def close(self) -> None:
        """Whatever the test did, nothing of it runs on."""
        self.towpath("down", expect=None)
        for pid in self.pids().values():
            if str(self.folder) in command_of(pid):
                os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def free_port() -> int:
    """Free on every loopback address that stands for a site."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind((SITES[0], 0))
            port = int(first.getsockname()[1])
            try:
                second.bind((SITES[1], port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free on both sites' addresses")
