"""Starts the box in namespaces of its own, and takes its cgroup away when it has ended.

    python -m tests.lab.sealed FOLDER ARCHIVE

It outlives a killed pytest by a moment: the box ends when its orders do (stdin), and this process sees to what no namespace
takes with it. If this process is killed itself, the kernel kills the box, and the next one sweeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.lab.capability import NAMESPACES, cgroup_root
from tests.tools import require

PREFIX = "towpath-lab-"


def group(keeper: int) -> Path:
    """The cgroup of the box that a process keeps."""
    root = cgroup_root()
    assert root is not None, "capability.why_not() was asked first"
    return root / f"{PREFIX}{keeper}"


def sweep(group: Path) -> None:
    """Ends what is in a cgroup and removes it with all below it."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    for _ in range(100):
        for folder in sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)


def sweep_forgotten(own: Path) -> None:
    """Cgroups of boxes whose keeper was killed."""
    for other in own.parent.glob(f"{PREFIX}*"):
        if not runs(int(other.name.removeprefix(PREFIX))):
            sweep(other)


def runs(number: int) -> bool:
    """Whether a process is there and not only waits to be buried."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(folder: str, archive: str) -> int:
    own = group(os.getpid())
    sweep_forgotten(own)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    own.mkdir()
    die_with_me = [require("setpriv"), "--pdeathsig", "KILL"]
    apart = [require("unshare"), *NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
    box = [sys.executable, "-m", "tests.lab.box", folder, archive, own.name]
    try:
        return subprocess.run([*die_with_me, *apart, *box], check=False).returncode
    finally:
        sweep(own)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
