"""Hosts that the deployer's verbs change and ask, in memory: the command line is the real one, SSH and nodes are not."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from oci_wire.memory import MemoryRegistry
from registry_node.settings import NodeSettings
from sites.desired import layout
from sites.desired.bundle import Release, here
from sites.desired.hosts import DesiredHost
from sites.hosts import HostError
from sites.planning.actions import Action
from sites.planning.facts import HostFacts
from sites.planning.removal_actions import Discard
from sites.rollout.contents import Content
from sites.rollout.ssh import Lock
from tests.sites import deployed
from towpath.exits import Exit
from towpath.main import run


class Killed(BaseException):
    """The run ends here, without a word to anybody."""


@dataclass
class Hosts:
    """``down``: hosts that do not answer, with the code of their error. ``deaf``: hosts that answer and take no change.
    ``kill_at``: the change, counted from 1, in whose middle the run dies. ``holds``: what leaving nodes are said to hold."""

    down: dict[str, str] = field(default_factory=dict)
    deaf: set[str] = field(default_factory=set)
    kill_at: int = 0
    there: dict[str, DesiredHost] = field(default_factory=dict)
    trash: dict[str, dict[str, Any]] = field(default_factory=dict)
    locks: dict[str, dict[str, Any]] = field(default_factory=dict)
    holds: dict[str, Content] = field(default_factory=dict)
    targets: Mapping[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    changes: int = 0
    slow: bool = False
    _wanted: dict[str, DesiredHost] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def facts_where_possible(
        self, hosts: Mapping[str, DesiredHost]
    ) -> tuple[dict[str, HostFacts], dict[str, HostError]]:
        self._wanted.update({name: each for name, each in hosts.items() if each.nodes})
        self.asked += hosts
        errors = {name: _error(self.down[name], name) for name in hosts if name in self.down}
        return {name: self._facts(name) for name in hosts if name not in errors}, errors

    async def facts(self, hosts: Mapping[str, DesiredHost]) -> dict[str, HostFacts]:
        return (await self.facts_where_possible(hosts))[0]

    async def sizes(self, host: str, folders: Sequence[str]) -> dict[str, int]:
        if self.slow:
            raise HostError("size-unknown", "did not answer in 5 s")
        return dict.fromkeys(folders, 2**30)

    async def apply(self, host: str, actions: Sequence[Action], lock: Lock) -> None:
        assert self.locks[host]["id"] == lock.id
        for each in actions:
            self.changes += 1
            if self.changes == self.kill_at:
                raise Killed
            if host in self.deaf:
                raise _error("host-change-failed", host)
            self._do(host, each)

    async def take_lock(self, host: str, told: Mapping[str, Any]) -> Lock | dict[str, Any]:
        if host in self.locks:
            return self.locks[host]
        self.locks[host] = dict(told)
        return Lock(told["id"], 1)

    async def give_lock_back(self, host: str, id: str) -> dict[str, Any] | None:
        if self.kill_at and self.changes >= self.kill_at:
            return None  # the dead say nothing
        if self.locks.get(host, {}).get("id") == id:
            del self.locks[host]
        return self.locks.get(host)

    def _do(self, host: str, action: Action) -> None:
        told = action.told()
        if told.get("path") == str(layout.INVENTORY):
            if told["do"] == "remove":
                self.there.pop(host)
            else:
                assert base64.b64decode(told["content"])
                self.there[host] = self._wanted[host]
        elif isinstance(action, Discard):
            self.trash.setdefault(host, {}).setdefault(action.target.rpartition("/")[2], {"until": action.until})
        elif told["do"] == "empty":
            del self.trash[host][told["path"].rpartition("/")[2]]

    def _facts(self, name: str) -> HostFacts:
        return deployed.facts(
            self.there.get(name), earlier={"trash": self.trash.get(name, {})}, lock=self.locks.get(name)
        )


def _error(code: str, host: str) -> HostError:
    return HostError(code, f"host {host} cannot be reached", where=host, why="it is down", next="see that it runs")


@dataclass
class Operator:
    """``towpath`` about deployed.TOPOLOGY in a folder."""

    folder: Path
    hosts: Hosts
    capture: pytest.CaptureFixture[str]

    def edit(self, before: str, after: str) -> None:
        file = self.folder / "topology.yaml"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))

    def towpath(self, *words: str, expect: Exit = Exit.DONE) -> Said:
        exit = run([*words, "-f", str(self.folder / "topology.yaml"), "-o", "json"])
        out, err = self.capture.readouterr()
        assert exit == expect, f"{exit}\n{out}\n{err}"
        errors = [line for line in map(json.loads, err.splitlines()) if "error" in line]
        return Said([json.loads(line) for line in out.splitlines()], errors)

    def in_words(self, *words: str) -> tuple[int, str, str]:
        exit = run([*words, "-f", str(self.folder / "topology.yaml")])
        out, err = self.capture.readouterr()
        return exit, out, err

    @property
    def remembered(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / ".towpath" / "hosts.json").read_text()))


@dataclass(frozen=True)
class Said:
    """The lines of stdout, and the errors."""

    lines: list[dict[str, Any]]
    errors: list[dict[str, Any]]

    def of(self, type: str) -> list[dict[str, Any]]:
        return [each for each in self.lines if each["type"] == type]

    @property
    def results(self) -> dict[str, str]:
        return {each["host"]: each["outcome"] for each in self.of("result")}

    @property
    def error(self) -> dict[str, Any]:
        (one,) = self.errors
        return dict(one["error"])


class AnyGate:
    def __init__(self, *_: object) -> None: ...

    async def check(self, node: str, url: str, settings: NodeSettings) -> None: ...

    async def serves(self, url: str) -> bool:
        return True

    @asynccontextmanager
    async def registry(self, url: str) -> AsyncIterator[MemoryRegistry]:
        yield MemoryRegistry()


def operator(folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> Operator:
    """Nothing is applied yet."""
    hosts = Hosts()
    (deployed.folder(folder) / "topology.yaml").write_text(deployed.TOPOLOGY)

    async def content_of(_: object, url: str, sisters: object, *, node: str) -> Content:
        return hosts.holds.get(node, Content())

    async def nothing(*_: object) -> None: ...

    made = Release(deployed.RELEASE, "0.1.0", here(), folder / "release.tar.gz")
    patch.setattr("sites.planning.deployment.release", lambda _: made)
    patch.setattr("towpath.deploy.Ssh.hosts", lambda *_: hosts)
    patch.setattr("sites.rollout.canary.Gate", AnyGate)
    patch.setattr("sites.rollout.contents.content_of", content_of)
    patch.setattr("towpath.figures.unmatched_filters", nothing)
    return Operator(folder, hosts, capture)
