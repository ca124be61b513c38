"""Real nodes for tests: a process of its own on a free loopback port, with users that have names for their part.

with running(tmp_path / "box", scope="prod") as node:
    httpx.get(node.url + "/v2/", auth=node.auth("dev"))
    node.kill(); node.start()         # the same data, the same port
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import bcrypt
import httpx

from identity.passwords import hash_token

PASSWORD = "correct-horse-battery"
_BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
# name -> secret. dev and reader are people; the others are robots.
SECRETS = {
    "dev": PASSWORD,
    "reader": PASSWORD,
    "nobody": PASSWORD,
    "ci": "tpr_ci-token-of-the-tests",
    "towpath-engine": "tpr_engine-token-of-the-tests",
}
PEOPLE = ("dev", "reader", "nobody")
# Who may do what, unless a test says otherwise: dev all that a person does, ci pushes, reader pulls, nobody nothing.
GRANTS: tuple[dict[str, Any], ...] = (
    {"to": "dev", "allow": ["pull", "push", "delete"]},
    {"to": "ci", "allow": ["pull", "push"]},
    {"to": "reader", "allow": ["pull"]},
    {"to": "towpath-engine", "allow": ["pull", "push", "delete", "annotate", "promote"]},
)
_ROOT = Path(__file__).resolve().parent.parent


class Logged(Protocol):
    """A node whose log can be read, whoever has started it."""

    log: Path

    def client(self, name: str | None = ...) -> httpx.Client: ...


class NodeDied(AssertionError):
    """The process ended instead of getting ready; the message holds its log."""


def users() -> dict[str, Any]:
    return {
        name: {"password_bcrypt": _BCRYPT} if name in PEOPLE else {"robot": True, "token_sha256": hash_token(secret)}
        for name, secret in SECRETS.items()
    }


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class RunningNode:
    """``url``, ``host`` (host:port), ``data`` (its folder), ``log`` (its file). Starts with ``start``.

    ``program``: a module that runs the node instead, e.g. one with a fault on purpose. ``trust``: for a node with
    ``tls``, what its clients here believe in."""

    def __init__(
        self, folder: Path, *, program: str = "", trust: ssl.SSLContext | None = None, **settings: Any
    ) -> None:
        self._program = ["-m", program] if program else ["-m", "towpath", "serve", "--settings"]
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.log = folder, folder / "data", folder / "node.log"
        self.settings_file = folder / "settings.json"
        listen = settings.pop("listen", None) or {"host": "127.0.0.1", "port": free_port()}
        self.host = f"{listen['host']}:{listen['port']}"
        self.trust: ssl.SSLContext | bool = trust or True
        self.url = f"{'https' if settings.get('tls') else 'http'}://{self.host}"
        given = {"node": "box", "scope": "sandbox", "users": users(), "grants": list(GRANTS)}
        self.settings = {**given, "listen": listen, "data": str(self.data), **settings}
        self.process: subprocess.Popen[bytes] | None = None

    def auth(self, name: str) -> tuple[str, str]:
        return name, SECRETS[name]

    def client(self, name: str | None = "dev", **options: Any) -> httpx.Client:
        """Asks this node with Basic credentials; None: without any."""
        auth = self.auth(name) if name else None
        return httpx.Client(base_url=self.url, auth=auth, verify=self.trust, trust_env=False, **options)

    def start(self, *, wait: bool = True, environment: dict[str, str] | None = None) -> None:
        self.settings_file.write_text(json.dumps(self.settings))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, str(self.settings_file)],
                cwd=_ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                raise NodeDied(f"exit status {self.process.returncode}:\n{self.log.read_text()}")
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2, verify=self.trust, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        raise NodeDied(f"not ready after {seconds} s:\n{self.log.read_text()}")

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, then waits: the exit status. Safe when it does not run."""
        return self._end(signal.SIGTERM, seconds)

    def kill(self) -> int:
        """SIGKILL, as a power cut for the process."""
        return self._end(signal.SIGKILL, 10.0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, number: int, seconds: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[RunningNode]:
    """A started node that is killed at the end. ``settings``: any field of NodeSettings."""
    node = RunningNode(folder, **settings)
    try:
        node.start()
        yield node
    finally:
        node.kill()


@contextmanager
def many(folder: Path) -> Iterator[Callable[..., RunningNode]]:
    """``make(name, **settings)`` starts a node each time; all are killed at the end."""
    nodes: list[RunningNode] = []

    def make(name: str = "box", **settings: Any) -> RunningNode:
        node = RunningNode(folder / name, **{"node": name, **settings})
        nodes.append(node)
        node.start()
        return node

    try:
        yield make
    finally:
        for node in nodes:
            node.kill()


def log_lines(node: Logged) -> Sequence[dict[str, Any]]:
    """The JSON lines of a node's log; other lines are left out."""
    found = []
    for line in node.log.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
