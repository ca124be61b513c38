"""Files and folders of a host: written whole or not at all, and removed or moved away only where they are ours.

Part of the program ``change`` (on_host/__init__.py puts it into its text).
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import shutil
from contextlib import suppress
from pathlib import Path

SETTINGS, UNITS, PROGRAMS, DATA = "/etc/towpath", "/etc/systemd/system", "/opt/towpath", "/var/lib/towpath"


class Refused(Exception):
    """What an action cannot do; the message is for a person."""


def remove(path: str) -> None:
    gone = Path(path)
    if gone.is_dir() and not gone.is_symlink():
        shutil.rmtree(gone)
    else:
        gone.unlink(missing_ok=True)


def ours(path: str) -> Path:
    """A path in one of our folders, to which no link below them leads: what is removed or moved away must be one, whatever
    an inventory that somebody edited says."""
    folder, name = os.path.split(path)
    for root in (SETTINGS, UNITS, PROGRAMS, DATA):
        if path.startswith(f"{root}/") and not {"", ".", ".."} & set(path[1:].split("/")):
            plain_folder = os.path.realpath(folder) == os.path.realpath(root) + folder[len(root) :]
            if plain_folder and (root != UNITS or (folder == root and name.startswith("towpath-"))):
                return Path(path)
    raise Refused(f"{path} is left alone: it does not lie in a folder of ours")


def prune(files: list[str], folders: list[str]) -> None:
    """Removes files and links, then the folders that are empty after it: what else lies there stays, and so do they."""
    for each in [ours(path) for path in files]:
        if each.is_symlink() or not each.is_dir():
            each.unlink(missing_ok=True)
    for each in map(ours, folders):
        with suppress(OSError):
            each.rmdir()


def discard(path: str, target: str, note: str) -> None:
    """Moves a data folder to the trash, with a note beside it. The note comes first: nothing lies there without one."""
    source, place = ours(path), ours(target)
    if not os.path.lexists(source):
        return
    if source.is_mount():
        raise Refused(f"{source} is a mount of its own; umount it, its data stays there, and run this again")
    if os.path.lexists(place):
        raise Refused(f"{place} is in the way")
    write(Path(f"{place}.json"), note.encode())
    source.rename(place)
    sync(place.parent)


def empty(path: str) -> None:
    """What the trash kept, and its note. Of a link the link alone."""
    gone = ours(path)
    if gone.parent.name != ".trash":
        raise Refused(f"{path} does not lie in the trash")
    remove(str(gone))
    Path(f"{gone}.json").unlink(missing_ok=True)


def sweep(folder: str, names: list[str], links: str, former: str) -> None:
    """Removes releases; never one that a node's link names, or what a node would go back to."""
    kept = (*Path(links).glob("*"), *Path(former).glob("*/*"))
    for name in {*names} - {each.readlink().name for each in kept if each.is_symlink()}:
        remove(str(ours(f"{folder}/{name}")))


def fresh_for(path: str) -> Path:
    """What will take the place of this path."""
    return Path(f"{path}.towpath-new")


def write(path: Path, content: bytes) -> None:
    """On the disk when this returns; root's alone."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def own(path: Path, mode: int, owner: str, group: str) -> None:
    os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
    path.chmod(mode)


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """Everything on the folder's file system (syncfs(2)): thousands of files at once."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
