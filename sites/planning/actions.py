"""The single steps by which a host is changed: told to ``on_host/change.py`` as JSON, shown to people as commands."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sites.desired.files import Directory, File


class Action(Protocol):
    def told(self) -> dict[str, Any]:
        """For the host; secrets included."""
        ...

    @property
    def command(self) -> str:
        """What a person would type; contents and secrets left out."""
        ...


@dataclass(frozen=True, slots=True)
class MakeUser:
    name: str
    home: str

    def told(self) -> dict[str, Any]:
        return {"do": "user", "name": self.name, "home": self.home}

    @property
    def command(self) -> str:
        return f"useradd --system --user-group --home-dir {self.home} --no-create-home {self.name}"


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    wanted: Directory

    def told(self) -> dict[str, Any]:
        each = self.wanted
        return {"do": "directory", "path": each.path, "mode": each.mode, "owner": each.owner, "group": each.group}

    @property
    def command(self) -> str:
        each = self.wanted
        return f"install -d -m {each.mode:04o} -o {each.owner} -g {each.group} {shlex.quote(each.path)}"


@dataclass(frozen=True, slots=True)
class PutFile:
    wanted: File

    def told(self) -> dict[str, Any]:
        each = self.wanted
        content = base64.b64encode(each.content).decode()
        owned = {"mode": each.mode, "owner": each.owner, "group": each.group}
        checked = {"check": list(each.check)} if each.check else {}
        return {"do": "file", "path": each.path, "content": content, **owned, **checked}

    @property
    def command(self) -> str:
        each = self.wanted
        return f"install -m {each.mode:04o} -o {each.owner} -g {each.group} {_name(each.path)} {shlex.quote(each.path)}"


@dataclass(frozen=True, slots=True)
class PutLink:
    path: str
    target: str

    def told(self) -> dict[str, Any]:
        return {"do": "link", "path": self.path, "target": self.target}

    @property
    def command(self) -> str:
        return f"ln -sfn {shlex.quote(self.target)} {shlex.quote(self.path)}"


@dataclass(frozen=True, slots=True)
class PutRelease:
    """``archive``: on this machine; the child process reads it, so that it crosses no pipe twice."""

    path: str
    archive: Path

    def told(self) -> dict[str, Any]:
        return {"do": "release", "path": self.path, "archive": str(self.archive)}

    @property
    def command(self) -> str:
        return f"tar -C {self.path} -xzf {self.archive.name}"


@dataclass(frozen=True, slots=True)
class Remove:
    path: str

    def told(self) -> dict[str, Any]:
        return {"do": "remove", "path": self.path}

    @property
    def command(self) -> str:
        return f"rm -rf {shlex.quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Keep:
    """Keeps what a change replaces, until the next one. While ``pending`` stands it adds to what is kept."""

    folder: str
    paths: tuple[str, ...]
    pending: str

    def told(self) -> dict[str, Any]:
        return {"do": "keep", "folder": self.folder, "paths": list(self.paths), "pending": self.pending}

    @property
    def command(self) -> str:
        return f"cp -a {' '.join(map(shlex.quote, self.paths))} {shlex.quote(self.folder)}"


@dataclass(frozen=True, slots=True)
class Restore:
    """Puts back what was kept; nothing when ``pending`` does not stand, since then nothing was replaced."""

    folder: str
    pending: str

    def told(self) -> dict[str, Any]:
        return {"do": "restore", "folder": self.folder, "pending": self.pending}

    @property
    def command(self) -> str:
        return f"cp -a {shlex.quote(self.folder)}/* back to where it was"


@dataclass(frozen=True, slots=True)
class Unit:
    """``verb``: enable, start, restart, reload-or-restart, try-restart, stop, disable (and stop)."""

    verb: str
    name: str

    def told(self) -> dict[str, Any]:
        return {"do": "unit", "verb": self.verb, "name": self.name}

    @property
    def command(self) -> str:
        return f"systemctl {self.verb} {self.name}"


@dataclass(frozen=True, slots=True)
class DropTable:
    """A table of the packet filter, family inet, if it is still there."""

    name: str

    def told(self) -> dict[str, Any]:
        return {"do": "drop_table", "name": self.name}

    @property
    def command(self) -> str:
        return f"nft delete table inet {self.name}"


@dataclass(frozen=True, slots=True)
class ReloadUnits:
    none: None = field(default=None, repr=False)

    def told(self) -> dict[str, Any]:
        return {"do": "units"}

    @property
    def command(self) -> str:
        return "systemctl daemon-reload"


@dataclass(frozen=True, slots=True)
class ReloadProxy:
    """nginx takes the files that were laid down. ``former``: the folder of what they replaced, which comes back when it
    refuses them, as ``Restore`` does; "": nothing does."""

    configuration: str
    former: str = ""
    pending: str = ""

    def told(self) -> dict[str, Any]:
        told = {"configuration": self.configuration, "former": self.former, "pending": self.pending}
        return {"do": "nginx", **told}

    @property
    def command(self) -> str:
        return "nginx -t && systemctl reload-or-restart nginx"


def _name(path: str) -> str:
    return shlex.quote(path.rpartition("/")[2])
