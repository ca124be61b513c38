"""What is laid down on a host: files, folders, and parts that are the host's own rather than one node's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class File:
    """``check``: a command that must take the new file (its path is put last) before it stands in its place."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False  # its content is neither shown nor compared but by hash
    check: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Directory:
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    def recorded(self) -> dict[str, Any]:
        """For the inventory on the host."""
        return {"mode": self.mode, "owner": self.owner, "group": self.group}


@dataclass(frozen=True, slots=True)
class Part:
    """Files of a host that belong to none of its nodes. ``name``: as plans call it. ``unit``: started with the host, and
    told when its files change; ``rereads``: another's unit that is told, if it runs. ``guards``: it decides who reaches the
    nodes, so that it changes with them, wave by wave. ``loaded``: what our table of the packet filter shows when these
    files are in force."""

    name: str
    files: tuple[File, ...]
    unit: str = ""
    rereads: str = ""
    guards: bool = False
    loaded: str = ""

    def recorded(self) -> dict[str, Any]:
        """For the inventory on the host."""
        files = {
            each.path: {"sha256": each.sha256, "mode": each.mode, "owner": each.owner, "group": each.group}
            for each in self.files
        }
        return {"files": files, "unit": self.unit}
