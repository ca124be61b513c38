"""What is there: one JSON object on stdout. Runs as root on the host, asked by one JSON object on stdin.

{"paths": [...], "inventory": path, "lock": path, "texts": [...], "units": [...], "releases": path, "trees": [...],
"data": path, "kept": [...], "user": name, "ports": [...], "table": name of a table of nftables, "rules": the
file that declares it, "folders": [...],
"earlier": {"links": path, "former": path, "releases": path, "trash": path},
"there": {"settings": path, "links": path, "units": path}}
or {"sizes": [...], "seconds": number}: the bytes that folders take; nobody waits for them any longer;
or {"contents": [...]}: what stands in files, secrets too.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import json
import os
import platform
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sites.on_host.at_rest import at_rest
from sites.on_host.packet_filter import table, table_of
from sites.on_host.records import machine_id, nodes_there, read_record

PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNIT_FACTS = ("LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NeedDaemonReload", "DropInPaths")
MOST = 100  # names of files that differ in a release


def path_facts(path: Path) -> dict[str, Any] | None:
    """None: there is nothing."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # no file has such a name
            raise
        return None
    told = {"mode": stat.S_IMODE(status.st_mode), "owner": user(status.st_uid), "group": group(status.st_gid)}
    if stat.S_ISLNK(status.st_mode):
        return {"kind": "link", "target": str(path.readlink())}
    if stat.S_ISREG(status.st_mode):
        return {"kind": "file", "sha256": digest(path), **told}
    return {"kind": "directory" if stat.S_ISDIR(status.st_mode) else "other", **told}


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def tree(top: Path) -> dict[str, Any]:
    """A release against its MANIFEST (as sha256sum(1) writes one): files that differ, are missing or are too many, and
    what others than root could change or the nodes not read."""
    try:
        manifest = (top / "MANIFEST").read_bytes()
        listed = {name: said for said, _, name in (line.partition("  ") for line in manifest.decode().splitlines())}
    except (OSError, UnicodeDecodeError):
        return {"manifest": "", "differing": ["MANIFEST"]}
    there = {name: path for name, path in files(top) if name != "MANIFEST"}
    same = {
        name
        for name, path in there.items()
        if name in listed and not path.is_symlink() and path.is_file() and listed[name] == digest(path)
    }
    opened = {path.relative_to(top).as_posix() for path in (top, *top.rglob("*")) if open_to_others(path)}
    opened |= {"."} if top.is_symlink() else set()
    differing = sorted((listed.keys() | there.keys()) - same | opened)
    return {"manifest": hashlib.sha256(manifest).hexdigest(), "differing": differing[:MOST]}


def open_to_others(path: Path) -> bool:
    """Whether anybody else than this program's user may write it, or not everybody may read it."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return False
    return status.st_uid != os.geteuid() or bool(status.st_mode & 0o022) or status.st_mode & 0o444 != 0o444


def files(top: Path) -> Iterator[tuple[str, Path]]:
    """Everything below that is no folder, by its name there."""
    for folder, folders, names in os.walk(top):
        for name in (*names, *(each for each in folders if Path(folder, each).is_symlink())):
            path = Path(folder, name)
            yield path.relative_to(top).as_posix(), path


def user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def text(path: str) -> str | None:
    """None: no file of text is there. A pipe in its place would keep whoever reads it waiting."""
    try:
        return Path(path).read_text() if Path(path).is_file() else None
    except (OSError, UnicodeDecodeError):
        return None


def parsed(path: str) -> Any:
    try:
        return json.loads(text(path) or "null")
    except ValueError:
        return None


def units(names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    words = ["systemctl", "show", "--property", ",".join(("Id", *UNIT_FACTS)), "--", *names]
    shown = subprocess.run(words, capture_output=True, text=True, check=False).stdout  # noqa: S603 - no shell
    found = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.split("\n\n")]
    return {each["Id"]: each for each in found if "Id" in each}


def listening() -> list[list[Any]]:
    """Local address, port and socket inode of everything that listens (proc(5), /proc/net/tcp)."""
    found = []
    for name in ("tcp", "tcp6"):
        for line in (text(f"/proc/net/{name}") or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].rsplit(":", 1)
                found.append([address, int(port, 16), int(fields[9])])
    return found


def listeners(inodes: set[int]) -> dict[str, str]:
    """Inode -> ``name (process 12)``."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            for descriptor in (folder / "fd").iterdir():
                target = str(descriptor.readlink())
                if target.startswith("socket:[") and int(target[8:-1]) in inodes:
                    name = (folder / "comm").read_text(errors="replace").strip()
                    found[target[8:-1]] = f"{name} (process {folder.name})"
        except OSError:
            continue
    return found


def ports(asked: list[int]) -> dict[str, str]:
    """Port -> who listens there."""
    taken = [each for each in listening() if each[1] in asked]
    names = listeners({each[2] for each in taken}) if taken else {}
    return {str(port): names.get(str(inode), "another program") for _, port, inode in taken}


def disk(path: Path) -> dict[str, int]:
    while not path.is_dir():
        path = path.parent
    usage = shutil.disk_usage(path)
    return {"total": usage.total, "free": usage.free}


def asked_from() -> str:
    """The address of whoever asks, as sshd tells its children (sshd(8), SSH_CONNECTION); "" when it cannot be found.
    sudo does not hand it on, so the processes above this one are looked at."""
    process = os.getpid()
    for _ in range(16):
        try:
            told = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            return ""
        for each in told:
            if each.startswith(b"SSH_CONNECTION="):
                return each.partition(b"=")[2].split()[0].decode("ascii", "replace")
        process = next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)
    return ""


def taken(path: Path) -> int:
    """Bytes on disk of all that is in a folder, files with several names once (as du(1))."""
    found: dict[tuple[int, int], int] = {}
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                status = Path(folder, name).lstat()
            except FileNotFoundError:  # it went meanwhile
                continue
            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def inside(path: str) -> list[Path]:
    return sorted(Path(path).glob("*"))


def earlier(asked: dict[str, str]) -> dict[str, Any]:
    """What earlier changes left: which release each node runs and could go back to, when releases came, the trash."""
    links = {each.name: [str(each.readlink())] for each in inside(asked["links"]) if each.is_symlink()}
    former = {
        each.name: [str(kept.readlink()) for kept in inside(str(each)) if kept.is_symlink()]
        for each in inside(asked["former"])
    }
    came = {each.name: each.lstat().st_ctime for each in inside(asked["releases"]) if not each.is_symlink()}
    notes = [each for each in inside(asked["trash"]) if each.suffix == ".json"]
    return {"links": links, "former": former, "came": came, "trash": {each.stem: parsed(str(each)) for each in notes}}


def look(asked: dict[str, Any]) -> dict[str, Any]:
    if "sizes" in asked:
        return {path: taken(Path(path)) for path in asked["sizes"]}
    if "contents" in asked:
        return {path: text(path) for path in asked["contents"]}
    inventory, unreadable = read_record(asked["inventory"])
    laid, there = inventory or {}, nodes_there(asked["there"])
    unlisted = [name for name in there if name not in laid.get("nodes", {})]
    parts = list(laid.get("parts", {}).values())
    owned = [path for part in ("directories", "files", "links") for path in laid.get(part, ())]
    owned += [path for part in parts for path in part["files"]]
    owned += [path for name in unlisted for path in there[name]]
    texts = [*asked["texts"], *(f"{asked['there']['settings']}/{name}/settings.json" for name in unlisted)]
    names = [*asked["units"], *laid.get("units", ()), *(part["unit"] for part in parts if part["unit"])]
    names += [f"towpath-{name}.service" for name in unlisted]
    releases = Path(asked["releases"])
    trees = [each for each in dict.fromkeys((*asked["trees"], *laid.get("releases", ()))) if (releases / each).is_dir()]
    return {
        "python": "{}.{}".format(*sys.version_info),
        "machine": platform.machine(),
        "system": platform.system(),
        "systemd": Path("/run/systemd/system").is_dir(),
        "time": time.time(),
        "user": known(asked["user"]),
        "paths": {each: path_facts(Path(each)) for each in dict.fromkeys((*asked["paths"], *owned))},
        "texts": {path: text(path) for path in texts},
        "units": units(list(dict.fromkeys(names))),
        "releases": sorted(each.name for each in releases.glob("*") if each.suffix == ""),
        "inventory": inventory,
        "unreadable": unreadable,
        "there": there,
        "machine_id": machine_id(),
        "lock": parsed(asked["lock"]),
        "trees": {each: tree(releases / each) for each in trees},
        "ports": ports(asked["ports"]),
        "nginx": shutil.which("nginx", path=PROGRAMS) or "",
        "disk": disk(Path(asked["data"])),
        "at_rest": {each: at_rest(Path(each)) for each in asked["kept"]},
        "table": (loaded := table(asked["table"])),
        "table_of_file": table_of(asked["rules"], asked["table"]) if loaded else "",
        "inside": {each: [found.name for found in inside(each)] for each in asked["folders"]},
        "asked_from": asked_from(),
        "earlier": earlier(asked["earlier"]),
    }


if __name__ == "__main__":
    question = json.load(sys.stdin)
    signal.alarm(question.get("seconds", 0))  # 0: never
    print(json.dumps(look(question)))
