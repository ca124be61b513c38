"""A node tells its supervisor what systemd waits for: ready, alive, stopping."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_node import supervisor
from tests.nodes import RunningNode


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(str(tmp_path / "notify"))
        opened.settimeout(20)
        yield opened


@pytest.mark.parametrize("form", ["path", "abstract"])
def test_it_is_told_where_the_environment_says(
    form: str, listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "abstract":
        listener.close()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind("\0towpath-test-notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "@towpath-test-notify")
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    supervisor.tell(supervisor.READY)
    assert listener.recv(100) == b"READY=1"
    listener.close()


@pytest.mark.parametrize("address", ["", "nonsense", "/nowhere/at/all"])
def test_a_node_serves_as_well_when_nobody_listens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    supervisor.tell(supervisor.READY)


@pytest.mark.slow
def test_a_node_says_ready_then_alive_then_stopping(tmp_path: Path, listener: socket.socket) -> None:
    node = RunningNode(tmp_path / "box")
    try:
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
        node.start(environment={**os.environ, **told})
        heard = [listener.recv(100) for _ in range(3)]
        assert heard.count(b"READY=1") == 1
        assert heard.count(b"WATCHDOG=1") == 2
        node.stop()
        last = b""
        while last != b"STOPPING=1":
            last = listener.recv(100)
    finally:
        node.kill()
