"""Whether this machine can hold the lab, and what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.tools import find, require

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "mount", "umount", "zstd", "ssh", "systemd-nspawn")
NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts")


def cgroup_root() -> Path | None:
    """Where cgroup v2 is mounted, alone or beside v1."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None


def why_not() -> str | None:
    """What this kind of machine does not give, however much is installed; None: nothing is lacking."""
    if sys.platform != "linux":
        return "the lab needs Linux"
    if os.geteuid() != 0:
        return "the lab needs root: it boots hosts in namespaces"
    if not Path("/dev/net/tun").exists():
        return "the lab needs /dev/net/tun for the lines between its sites"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the lab needs overlayfs"
    root = cgroup_root()
    if root is None or not os.access(root, os.W_OK):
        return "the lab needs a cgroup v2 tree that it may write to"
    unshare = find("unshare")
    if (
        unshare
        and subprocess.run([unshare, *NAMESPACES, "--fork", "true"], capture_output=True, check=False).returncode
    ):
        return "this machine lets root have no namespaces of its own"
    return None


def require_programs() -> None:
    """Skips, or fails in CI, when a program is missing that ``scripts/install-clients`` installs."""
    for name in PROGRAMS:
        require(name)
