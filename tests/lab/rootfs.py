"""The hosts' root file system: a small Debian with systemd and sshd, built once per recipe.

    python -m tests.lab.rootfs      builds it if it is not there, and prints where it is

It comes from where this machine's own apt gets its packages, and lies in ``$TOWPATH_LAB_CACHE``, else
``~/.cache/towpath-lab``, as ``<hash of the recipe>.tar.zst``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools import require

RELEASE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3"),
    *("nginx-light", "nftables", "iproute2", "procps", "logrotate"),
)
# What every fresh host of a company has and Debian's packages alone do not: the account that deploys. Keys, names and
# machine ids belong to one host and come with it. Timers that would look for updates have nowhere to look.
CUSTOMIZE = """\
set -eu
chroot "$1" useradd --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/deploy"
chmod 0440 "$1/etc/sudoers.d/deploy"
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/resolv.conf"
: > "$1/etc/machine-id"
rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer; do
  ln -sf /dev/null "$1/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$1/etc/systemd/system/default.target"
"""


class RootfsError(AssertionError):
    """The root file system could not be built; the message holds the end of what mmdebstrap said."""


def key() -> str:
    """Names a build: another recipe, another key."""
    return hashlib.sha256(json.dumps([RELEASE, PACKAGES, CUSTOMIZE]).encode()).hexdigest()[:16]


def folder() -> Path:
    given = os.environ.get("TOWPATH_LAB_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache) / "towpath-lab"


def archive() -> Path:
    """The root file system as tar.zst, built now if this recipe was never built here. Raises RootfsError."""
    made = folder() / f"{key()}.tar.zst"
    if made.exists():
        return made
    with _alone(made):
        if not made.exists():
            _build(made)
    return made


@contextmanager
def _alone(made: Path) -> Iterator[None]:
    """Two test runs on one machine build it once."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(made: Path) -> None:
    half = made.with_name(f".half-{os.getpid()}-{made.name}")
    hook = made.with_name(f".customize-{os.getpid()}.sh")
    hook.write_text(CUSTOMIZE)
    try:
        done = subprocess.run(
            [
                *(require("mmdebstrap"), "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"),
                *(f"--aptopt={option}" for option in apt_options()),
                *(f'--customize-hook=sh {hook} "$1"', RELEASE, str(half), *apt_sources()),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            raise RootfsError(f"mmdebstrap ended with {done.returncode}:\n{done.stderr[-4000:]}")
        half.rename(made)
    finally:
        half.unlink(missing_ok=True)
        hook.unlink(missing_ok=True)


def apt_sources() -> list[str]:
    """This machine's own files of sources that hold the release's main part; none: mmdebstrap's default mirror."""
    top = Path("/etc/apt")
    files = [top / "sources.list", *sorted((top / "sources.list.d").glob("*.list"))]
    files += sorted((top / "sources.list.d").glob("*.sources"))
    words = re.compile(rf"^(?!\s*#).*(?<![\w-]){RELEASE}(?![\w-])", flags=re.MULTILINE)
    return [
        str(file)
        for file in files
        if file.is_file() and words.search(file.read_text()) and re.search(r"\bmain\b", file.read_text())
    ]


def apt_options() -> list[str]:
    """How this machine's apt reaches its mirror: proxies, and whether it takes a mirror of a day long past."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    wanted = re.compile(r'^Acquire::(?:https?::Proxy|Check-Date|Check-Valid-Until|Retries)\S* "[^"]+";$', re.MULTILINE)
    return [line.rstrip(";") for line in wanted.findall(dump)]


if __name__ == "__main__":
    print(archive())
    sys.exit(0)
