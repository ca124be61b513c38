"""Hosts that are this machine: a process and a state folder a node, sites as loopback addresses (``towpath up``)."""

from __future__ import annotations

import asyncio
import http.client
import sys
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from registry_node.settings import Listen, NodeSettings, SettingsInvalid, mark_of
from registry_node.settings import load as load_settings
from sites.hosts import (
    Facts,
    HostError,
    HostErrors,
    NodeFacts,
    NodeState,
    Operation,
    Start,
    Stop,
    WriteSettings,
)
from sites.loopback import process
from sites.loopback.ports import check_free
from sites.settings.node_settings import rendered
from sites.state import StateFolder, write_private

START_PATIENCE = 60.0  # seconds until a node must serve; importing takes seconds on a loaded machine
TAKE_PATIENCE = 15.0  # seconds until a running node must have taken new settings in; it looks once a second
STOP_MARGIN = 5.0  # seconds beyond the node's own drain


class LoopbackHosts:
    """The ``Hosts`` port over one state folder."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    async def facts(self) -> Facts:
        """Every node that has a folder here."""
        found = await asyncio.gather(*(asyncio.to_thread(self._facts, name) for name in self._state.nodes()))
        return {each.node: each for each in found}

    def _facts(self, node: str) -> NodeFacts:
        settings = self._settings(node)
        record = process.recorded(self._state.pid(node))
        if record is None:
            return NodeFacts(node, NodeState.STOPPED, settings)
        if not record.alive:
            return NodeFacts(node, NodeState.DIED, settings, record.pid)
        serving, version = probe(settings.listen) if settings else (False, None)
        return NodeFacts(node, NodeState.READY if serving else NodeState.STARTING, settings, record.pid, version)

    def _settings(self, node: str) -> NodeSettings | None:
        try:
            return load_settings(self._state.settings(node))
        except SettingsInvalid:
            return None

    async def apply(self, operations: Sequence[Operation]) -> None:
        """Stops, then settings, then starts; a node that runs on takes its settings in (registry_node/reload.py).
        Raises HostErrors; then the nodes started here are stopped again."""
        stops = [each.node for each in operations if isinstance(each, Stop)]
        writes = {each.node: each.settings for each in operations if isinstance(each, WriteSettings)}
        starts = [each.node for each in operations if isinstance(each, Start)]
        listens = {node: (writes.get(node) or load_settings(self._state.settings(node))).listen for node in starts}
        _check_free({node: listen for node, listen in listens.items() if node not in stops})  # before anything changes
        await asyncio.gather(*(self._stop(node) for node in stops))
        _check_free({node: listen for node, listen in listens.items() if node in stops})
        for node, settings in writes.items():
            self._write(node, settings)
        try:
            await self._start(starts)
            await _all(self._wait_taken(node, writes[node]) for node in writes if node not in starts)
        except BaseException:  # also Ctrl-C: nothing half started stays behind
            await asyncio.gather(*(self._stop(node) for node in starts))
            raise

    async def _stop(self, node: str) -> None:
        settings = self._settings(node)
        drain = settings.limits.drain_seconds if settings else 10.0
        await process.stop(self._state.pid(node), grace=drain + STOP_MARGIN)

    def _write(self, node: str, settings: NodeSettings) -> None:
        self._state.node(node).mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._state.settings(node), rendered(settings))

    async def _start(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            process.start(
                serve_command(self._state.settings(node)), log=self._state.log(node), pid_file=self._state.pid(node)
            )
        await _all(self._wait_ready(node) for node in nodes)

    async def _wait_ready(self, node: str) -> None:
        listen = load_settings(self._state.settings(node)).listen
        deadline = time.monotonic() + START_PATIENCE
        while True:
            record = process.recorded(self._state.pid(node))
            if record is None or not record.alive:
                raise self._failure(node, "node-died", f"node {node} stopped while it was starting")
            if (await asyncio.to_thread(probe, listen))[0]:
                return
            if time.monotonic() > deadline:
                raise self._failure(node, "node-not-ready", f"node {node} does not serve after {START_PATIENCE:.0f} s")
            await asyncio.sleep(process.POLL)

    async def _wait_taken(self, node: str, settings: NodeSettings) -> None:
        wanted, deadline = mark_of(rendered(settings)), time.monotonic() + TAKE_PATIENCE
        while await asyncio.to_thread(settings_mark, settings.listen) != wanted:
            if time.monotonic() > deadline:
                what = f"node {node} has not taken its new settings in after {TAKE_PATIENCE:.0f} s"
                raise self._failure(node, "settings-not-taken", what)
            await asyncio.sleep(process.POLL)

    def _failure(self, node: str, code: str, what: str) -> HostError:
        log = self._state.log(node)
        return HostError(
            code, what, where=str(log), why=process.tail(log), next="correct what the log says, then towpath up again"
        )


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Waits for everything, then raises HostErrors of all that went wrong with a host, or the first other error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    errors = [each for each in results if isinstance(each, HostError)]
    others = [each for each in results if isinstance(each, BaseException) and not isinstance(each, HostError)]
    if others:
        raise others[0]
    if errors:
        raise HostErrors(errors)


def _check_free(listens: Mapping[str, Listen]) -> None:
    errors: list[HostError] = []
    for node, listen in listens.items():
        try:
            check_free(node, listen.host, listen.port)
        except HostError as error:
            errors.append(error)
    if errors:
        raise HostErrors(errors)


def serve_command(settings: Path) -> list[str]:
    """``-P``: the folder one happens to stand in never shadows a module."""
    return [sys.executable, "-P", "-m", "towpath", "serve", "--settings", str(settings)]


def probe(listen: Listen) -> tuple[bool, str | None]:
    """Whether a node serves at this address, and the version that its Server header names."""
    status, headers = _readyz(listen)
    server = headers.get("server", "")
    return status == 200, server.removeprefix("towpath/") if server.startswith("towpath/") else None


def settings_mark(listen: Listen) -> str | None:
    """Which content of its settings file the node at this address holds to."""
    return _readyz(listen)[1].get("towpath-settings")


def _readyz(listen: Listen) -> tuple[int, dict[str, str]]:
    """Status (0: no answer) and headers."""
    connection = http.client.HTTPConnection(listen.host, listen.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()
