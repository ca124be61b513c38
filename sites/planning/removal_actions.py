"""The steps by which what left the topology goes from a host. ``on_host/change.py`` keeps them within our folders."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prune:
    """Files and links, then the folders that are empty without them."""

    files: tuple[str, ...]
    folders: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        return {"do": "prune", "files": list(self.files), "folders": list(self.folders)}

    @property
    def command(self) -> str:
        folders = f"; rmdir {_words(self.folders)}" if self.folders else ""
        return f"rm -f {_words(self.files)}{folders}"


@dataclass(frozen=True, slots=True)
class Discard:
    """Data to the trash. ``note``: kept beside it; ``until``: how long (seconds since the epoch), in the note too."""

    path: str
    target: str
    note: Mapping[str, Any]
    until: float

    def told(self) -> dict[str, Any]:
        note = json.dumps({**self.note, "until": self.until})
        return {"do": "discard", "path": self.path, "target": self.target, "note": note}

    @property
    def command(self) -> str:
        return f"mv {shlex.quote(self.path)} {shlex.quote(self.target)}"


@dataclass(frozen=True, slots=True)
class Empty:
    """One thing in the trash, for good."""

    path: str

    def told(self) -> dict[str, Any]:
        return {"do": "empty", "path": self.path}

    @property
    def command(self) -> str:
        return f"rm -rf {shlex.quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Releases; the host itself leaves those that a link names."""

    folder: str
    names: tuple[str, ...]
    links: str
    former: str

    def told(self) -> dict[str, Any]:
        places = {"folder": self.folder, "links": self.links, "former": self.former}
        return {"do": "sweep", "names": list(self.names), **places}

    @property
    def command(self) -> str:
        return f"rm -rf {_words(tuple(f'{self.folder}/{each}' for each in self.names))}"


def _words(paths: tuple[str, ...]) -> str:
    return " ".join(map(shlex.quote, paths))
