"""Whether what lies in a folder is encrypted on its disk, as the kernel shows it.

Part of the program ``look`` (on_host/__init__.py puts it into its text).
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

CIPHERED = frozenset({"PLAIN", "LUKS1", "LUKS2", "LOOPAES", "TCRYPT", "BITLK", "FVAULT2"})  # cryptsetup(8), --type
FSCRYPT_POLICY, _POLICY = 0xC0096616, 24  # FS_IOC_GET_ENCRYPTION_POLICY_EX; bytes of a policy (linux/fscrypt.h)


def at_rest(path: Path, system: Path = Path("/")) -> dict[str, str]:
    """The device that holds a folder and by what it is encrypted, "" when nothing shows it; what is mounted inside it
    counts as well. ``system``: where /sys and /proc lie."""
    folders = [path, *mounts_inside(path, system)]
    found = [of_folder(each, system) for each in folders]
    return next((each for each in found if not each["encryption"]), found[0])


def of_folder(path: Path, system: Path) -> dict[str, str]:
    while not path.is_dir():
        path = path.parent
    kind, source = mounted(path, system)
    if has_policy(path):
        return {"device": f"{source} ({kind})", "encryption": "fscrypt"}
    below = [] if kind == "ecryptfs" else [encryption(each) for each in devices(path, kind, source, system)]
    shown = "eCryptfs" if kind == "ecryptfs" else below[0] if below and all(below) else ""
    return {"device": f"{source} ({kind})", "encryption": shown}


def has_policy(folder: Path) -> bool:
    """Whether what is written to a folder is encrypted by fscrypt (the kernel's documentation, filesystems/fscrypt.rst):
    it holds no other files then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, FSCRYPT_POLICY, bytearray(_POLICY.to_bytes(8, sys.byteorder) + bytes(_POLICY)))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def devices(path: Path, kind: str, source: str, system: Path) -> list[Path]:
    """The block devices below a folder, as their folders below /sys; none for memory, network and overlays."""
    number = path.stat().st_dev
    if os.major(number):
        return [system / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"]
    if kind == "btrfs":  # several devices may be one
        for each in (system / "sys/fs/btrfs").glob("*/devices"):
            if (each / Path(source).resolve().name).exists():
                return sorted(each.iterdir())
    return []


def encryption(device: Path) -> str:
    """``LUKS2``, ``PLAIN`` ... of a block device (its folder below /sys/dev/block), by device mapper's name for it
    (cryptsetup writes CRYPT-TYPE-UUID-NAME, also of VERITY and INTEGRITY, which hide nothing); "" unless it or all that
    it lies on are encrypted."""
    mapped = _read(device / "dm/uuid")
    if mapped.startswith("CRYPT-") and (kind := mapped.split("-")[1].strip()) in CIPHERED:
        return kind
    below = sorted((device / "slaves").iterdir()) if (device / "slaves").is_dir() else []
    found = [encryption(each) for each in below]
    return found[0] if found and all(found) else ""


def mounted(path: Path, system: Path = Path("/")) -> tuple[str, str]:
    """The kind of file system that holds a folder, and its source (proc(5), /proc/self/mountinfo)."""
    best, found = -1, ("", "")
    where = str(path.resolve())
    for point, kind, source in mounts(system):
        if (where == point or where.startswith(point.rstrip("/") + "/")) and len(point) >= best:
            best, found = len(point), (kind, source)
    return found


def mounts_inside(folder: Path, system: Path) -> list[Path]:
    where = f"{folder.resolve()}/"
    return [Path(point) for point, _, _ in mounts(system) if point.startswith(where)]


def mounts(system: Path) -> Iterator[tuple[str, str, str]]:
    """Mount point, kind of file system, source."""
    for line in _read(system / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split()[4])
        yield point, right.split()[0], right.split()[1]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
