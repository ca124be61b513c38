"""Docker's daemon and containerd, each with folders and sockets of its own, and ended with all that they started.

Where a machine cannot run one (no root, a kernel without what it needs) the test is skipped with what the daemon said;
only a missing program fails in CI.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.tools import require

_START_SECONDS = 45.0
_NO_CRI = 'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
_CRI = '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "native"\n'  # overlayfs is not everywhere


class Daemon:
    """A running one: ``folder`` has a short path, ``socket`` is where it answers."""

    def __init__(self, folder: Path, command: Sequence[str], probe: Sequence[str]) -> None:
        self.folder, self.socket, self._log = folder, folder / "socket", folder / "log"
        self._program = command[0]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=folder
            )
        try:
            self._wait(probe)
        except BaseException:
            self.stop()
            raise

    def _wait(self, probe: Sequence[str]) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            if subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode == 0:
                return
            time.sleep(0.1)
        said = self._log.read_text(errors="replace")[-1500:]
        pytest.skip(f"{self._program} does not start on this machine: {said}")

    def stop(self) -> None:
        """Ends it and its children; its mounts go with it."""
        for number, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
            if self._process.poll() is None:
                self._process.send_signal(number)
                try:
                    self._process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


@contextmanager
def _folder() -> Iterator[Path]:
    """Sockets' paths have at most 108 bytes: pytest's own folders are too deep."""
    folder = Path(tempfile.mkdtemp(prefix="tp-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_root(name: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{name} needs root")


@contextmanager
def docker_daemon(settings: Path | None = None) -> Iterator[Daemon]:
    """Without a bridge, so that it changes nothing of the machine's network. Loopback registries may be plain HTTP.
    ``settings``: its daemon.json; None: an empty one."""
    program, client = require("dockerd"), require("docker")
    _require_root("dockerd")
    with _folder() as folder:
        where = f"unix://{folder / 'socket'}"
        offline = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none")
        roots = (
            f"--data-root={folder / 'data'}",
            f"--exec-root={folder / 'exec'}",
            f"--pidfile={folder / 'pid'}",
            f"--config-file={settings or folder / 'daemon.json'}",
        )
        (folder / "daemon.json").write_text("{}")
        daemon = Daemon(folder, [program, *offline, *roots, f"--host={where}"], [client, "-H", where, "version"])
        try:
            yield daemon
        finally:
            daemon.stop()


@contextmanager
def containerd(*, cri: bool = False, hosts: str = "") -> Iterator[Daemon]:
    """``cri``: with the socket's other half, by which a kubelet pulls; ``hosts``: its folder of hosts.toml."""
    program, client = require("containerd"), require("ctr")
    _require_root("containerd")
    registries = f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{hosts}"\n' if hosts else ""
    with _folder() as folder:
        settings = folder / "config.toml"
        settings.write_text(
            f'version = 2\nroot = "{folder / "root"}"\nstate = "{folder / "state"}"\n'
            f'{"" if cri else _NO_CRI}[grpc]\naddress = "{folder / "socket"}"\n{_CRI + registries if cri else ""}'
        )
        probe = [client, "-a", str(folder / "socket"), "version"]
        daemon = Daemon(folder, [program, "-c", str(settings)], probe)
        try:
            yield daemon
        finally:
            daemon.stop()


@contextmanager
def buildkitd() -> Iterator[Daemon]:
    """With the configuration that it reads by default: /etc/buildkit/buildkitd.toml."""
    program, client = require("buildkitd"), require("buildctl")
    _require_root("buildkitd")
    with _folder() as folder:
        address = f"unix://{folder / 'socket'}"
        worker = ("--oci-worker=true", "--containerd-worker=false", "--oci-worker-snapshotter=native")
        offline = ("--oci-worker-net=host", f"--root={folder / 'root'}", f"--addr={address}")
        daemon = Daemon(folder, [program, *worker, *offline], [client, "--addr", address, "debug", "workers"])
        try:
            yield daemon
        finally:
            daemon.stop()
