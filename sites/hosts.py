"""The port to the places where nodes run: what is there (facts), and bringing it elsewhere (operations).

``loopback.py`` satisfies it with processes on this machine; hosts over SSH come behind the same port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from registry_node.settings import NodeSettings


class HostError(Exception):
    """Something at a host is not as it must be. ``what``, ``where``, ``why``, ``next`` are sentences for a person;
    ``code`` is stable."""

    def __init__(self, code: str, what: str, *, where: str = "", why: str = "", next: str = "") -> None:
        super().__init__(what)
        self.code, self.what, self.where, self.why, self.next = code, what, where, why, next

    def but(self, *, what: str = "", why: str = "", next: str = "") -> HostError:
        """The same error with other sentences."""
        words = {"where": self.where, "why": why or self.why, "next": next or self.next}
        return HostError(self.code, what or self.what, **words)


class HostErrors(Exception):
    """Several at once, so that one run shows everything."""

    def __init__(self, errors: Sequence[HostError]) -> None:
        super().__init__("; ".join(each.what for each in errors))
        self.errors = tuple(errors)


class NodeState(StrEnum):
    READY = "ready"
    STARTING = "starting"  # the process lives and does not serve: starting or draining
    STOPPED = "stopped"
    DIED = "died"  # it has a pid file, and that process is gone


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node as it is. ``settings`` are those on disk, None when there are none or they cannot be read."""

    node: str
    state: NodeState
    settings: NodeSettings | None = None
    pid: int | None = None
    version: str | None = None

    @property
    def runs(self) -> bool:
        return self.state in (NodeState.READY, NodeState.STARTING)


Facts = Mapping[str, NodeFacts]


@dataclass(frozen=True, slots=True)
class WriteSettings:
    node: str
    settings: NodeSettings


@dataclass(frozen=True, slots=True)
class Start:
    node: str


@dataclass(frozen=True, slots=True)
class Stop:
    node: str


Operation = WriteSettings | Start | Stop


class Hosts(Protocol):
    async def facts(self) -> Facts:
        """What is there now, by node."""
        ...

    async def apply(self, operations: Sequence[Operation]) -> None:
        """Carries the operations out: stops, then settings, then starts, each waited for; a node that runs on takes its
        settings in. Whatever fails, the nodes that this call started are stopped again. Raises HostErrors."""
        ...
