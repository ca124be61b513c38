"""The state folder, pid files and ports."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from sites.hosts import HostError
from sites.loopback import process
from sites.loopback.ports import check_free
from sites.state import Runs, StateFolder, write_private


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "topology.yaml"
    path.write_text("metadata: {name: mine}\n")
    return path


def test_a_folder_belongs_to_one_topology(state: StateFolder, file: Path) -> None:
    state.claim("mine", file)
    state.claim("mine", file)
    with pytest.raises(HostError) as raised:
        state.claim("theirs", file)
    assert raised.value.code == "state-of-another-topology"
    assert json.loads((state.root / "topology.json").read_text())["name"] == "mine"


def test_hosts_keys_may_be_there_first(state: StateFolder, file: Path) -> None:
    state.root.mkdir()
    state.known_hosts.write_text("10.1.0.11 ssh-ed25519 AAAA\n")
    state.claim("mine", file, Runs.HOSTS)
    assert state.runs is Runs.HOSTS
    assert state.known_hosts.read_text().startswith("10.1.0.11")


def test_an_edited_topology_keeps_its_folder(state: StateFolder, file: Path) -> None:
    state.claim("mine", file)
    before = json.loads((state.root / "topology.json").read_text())["sha256"]
    file.write_text("metadata: {name: mine, owner: me}\n")
    state.claim("mine", file)
    assert json.loads((state.root / "topology.json").read_text())["sha256"] != before


def test_the_engines_token_is_made_once_and_private(state: StateFolder, file: Path) -> None:
    state.claim("mine", file)
    token = state.engine_token()
    assert state.engine_token() == token
    mode = (state.root / "secrets" / "engine.token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_private_file_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_one_command_at_a_time(state: StateFolder, file: Path) -> None:
    state.claim("mine", file)
    with state.locked(), pytest.raises(HostError) as raised, state.locked():
        pass
    assert raised.value.code == "state-busy"
    assert str(os.getpid()) in raised.value.where
    with state.locked():
        pass


def test_an_unreadable_file_is_named(state: StateFolder, file: Path) -> None:
    state.claim("mine", file)
    state.addresses.write_text("{")
    with pytest.raises(HostError) as raised:
        state.read_addresses()
    assert str(state.addresses) in raised.value.what


async def test_a_process_is_found_again_and_stopped(tmp_path: Path) -> None:
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    program = "import time; print('hello', flush=True); time.sleep(600)"
    process.start([sys.executable, "-c", program], log=log, pid_file=pid_file)
    found = process.recorded(pid_file)
    assert found is not None
    assert found.alive
    assert await process.stop(pid_file, grace=10)
    assert not found.alive
    assert not pid_file.exists()
    assert not await process.stop(pid_file, grace=10)


async def test_a_deaf_process_is_killed(tmp_path: Path) -> None:
    log, pid_file = tmp_path / "log", tmp_path / "pid"
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    process.start([sys.executable, "-c", program], log=log, pid_file=pid_file)
    while "deaf" not in process.tail(log):
        pass
    found = process.recorded(pid_file)
    assert found is not None
    assert await process.stop(pid_file, grace=0.1)
    assert not found.alive


async def test_a_number_that_was_used_again_is_not_ours(tmp_path: Path) -> None:
    """The pid lives, but was born at another time: it must not be stopped."""
    pid_file = tmp_path / "pid"
    pid_file.write_text(json.dumps({"pid": os.getpid(), "born": "another boot/1"}))
    found = process.recorded(pid_file)
    assert found is not None
    assert not found.alive
    assert not await process.stop(pid_file, grace=0.1)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "born": "y"}', "\x00"])
def test_an_unreadable_pid_file_is_no_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)
    assert process.recorded(tmp_path / "pid") is None


def test_a_port_in_use_names_its_owner() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostError) as raised:
            check_free("box", "127.0.0.1", port)
    assert raised.value.code == "port-in-use"
    assert f"127.0.0.1:{port}" in raised.value.what
    assert "another port" in raised.value.next
    if Path("/proc/net/tcp").exists():
        assert f"process {os.getpid()}" in raised.value.why
    check_free("box", "127.0.0.1", port)


def test_an_address_that_this_machine_has_not() -> None:
    with pytest.raises(HostError) as raised:
        check_free("box", "192.0.2.1", 5000)
    assert raised.value.code == "no-such-address"
