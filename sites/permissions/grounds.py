"""An answer to "may they?", with the lines of the topology that decide it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from identity.grants import Action, Principal

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Ground:
    """``path``: the place in the topology that says so."""

    text: str
    path: Path


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    grounds: tuple[Ground, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """``tag`` "": the repository as such, or a digest in it. ``site``: of the node that asks, where one asks another."""

    who: Principal
    action: Action
    repository: str
    tag: str = ""
    site: str | None = None

    @property
    def name(self) -> str:
        return self.who.name or "everyone"

    @property
    def image(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else self.repository


def no(text: str, path: Path) -> Verdict:
    return Verdict(False, (Ground(text, path),))


def listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
