"""One host: an overlay over the shared root file system, booted by systemd-nspawn in a cgroup of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.lab.network import names, run
from tests.lab.places import USER, LabHost

DEPLOY_ID = 1000
BOOT_SECONDS = 60


class Guest:
    """``place``: its folder in the box; ``keys``: where its host key and the deployer's public key lie; ``group``: the
    cgroup of all hosts; ``disk``: bytes that it may write."""

    def __init__(self, host: LabHost, *, lower: Path, place: Path, keys: Path, group: Path, log: Path) -> None:
        self.host, self.lower, self.keys, self.log = host, lower, keys, log
        self.disk, self.root = place / "disk", place / "root"
        self.group = group / host.name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def furnish(self, size: int) -> None:
        """A new machine: an empty disk of ``size`` bytes, its name, its keys."""
        for folder in (self.disk, self.root):
            folder.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", f"disk-{self.host.name}", str(self.disk)])
        upper, work = self.disk / "upper", self.disk / "work"
        upper.mkdir(mode=0o755)
        work.mkdir()
        layers = f"lowerdir={self.lower},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", "-o", layers, f"root-{self.host.name}", str(self.root)])
        self._identity()

    def _identity(self) -> None:
        etc, home = self.root / "etc", self.root / "home" / USER
        (etc / "hostname").write_text(f"{self.host.name}\n")
        (etc / "hosts").write_text(names())
        (etc / "machine-id").write_text(f"{hashlib.sha256(self.host.name.encode()).hexdigest()[:32]}\n")
        self.take_key()
        (home / ".ssh").mkdir(mode=0o700)
        shutil.copyfile(self.keys / "deploy.pub", home / ".ssh" / "authorized_keys")
        for path in (home / ".ssh", home / ".ssh" / "authorized_keys"):
            os.chown(path, DEPLOY_ID, DEPLOY_ID)

    def take_key(self) -> None:
        """Its host key, as it lies in ``keys`` now."""
        file = self.root / "etc" / "ssh" / "ssh_host_ed25519_key"
        shutil.copyfile(self.keys / self.host.name, file)
        file.chmod(0o600)
        shutil.copyfile(self.keys / f"{self.host.name}.pub", file.with_suffix(".pub"))

    def boot(self) -> None:
        """Starts process 1; see ``wait_ssh``."""
        self.group.mkdir(exist_ok=True)
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", enter, str(self.group), *self._nspawn()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )

    def _nspawn(self) -> list[str]:
        return [
            *("systemd-nspawn", "--quiet", "--boot", "--directory", str(self.root), "--machine", self.host.name),
            *("--register=no", "--keep-unit", "--settings=no", "--console=pipe", "--link-journal=no"),
            # All that a machine's root may do, but for what would reach this machine's own clock and kernel.
            *("--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO,CAP_SYS_BOOT"),
            *("--resolv-conf=off", "--timezone=off", "--private-users=no"),
            f"--network-namespace-path=/run/netns/{self.host.name}",
        ]

    def wait_ssh(self) -> None:
        """Until sshd says its name. Raises RuntimeError with the end of the console."""
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until and self.running:
            try:
                with socket.create_connection((self.host.address, self.host.port), timeout=2) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                time.sleep(0.05)
        end = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.host.name} does not answer on ssh; its console ends:\n{end}")

    def leader(self) -> int:
        """The box's number for the host's process 1. Raises RuntimeError when it does not run."""
        network = Path("/run/netns", self.host.name).stat().st_ino if self.running else None
        for folder in Path("/proc").glob("[0-9]*") if network else ():
            try:
                inside = _numbers(folder)
                if len(inside) > 1 and inside[-1] == 1 and (folder / "ns" / "net").stat().st_ino == network:
                    return int(folder.name)
            except (OSError, ValueError):
                continue
        raise RuntimeError(f"{self.host.name} does not run")

    def kill(self) -> None:
        """As a power cut: every process at once, and what they had written stays."""
        if self.group.exists():
            (self.group / "cgroup.kill").write_text("1")
        if self._process is not None:
            self._process.wait(30)
        self._process = None

    def clear(self) -> None:
        """Takes the disk away, with all that was written."""
        for folder in (self.root, self.disk):
            if folder.is_mount():
                run(["umount", "--lazy", str(folder)])


def _numbers(folder: Path) -> list[int]:
    """A process's number in each of its namespaces, from the box's inwards."""
    lines = (folder / "status").read_text().splitlines()
    return [int(number) for line in lines if line.startswith("NSpid:") for number in line.split()[1:]]
