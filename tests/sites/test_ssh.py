"""The child process that speaks SSH, as far as it gets without a host: every host that cannot be reached, at once."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import psutil
import pytest

from sites.hosts import HostErrors
from sites.inventory import targets_of
from sites.ssh import Login, SshHosts
from tests.sites import deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def modules_of_this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent.parent))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_all_unreachable_hosts_are_told_at_once(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ways = (f"deploy@127.0.0.1:{closed_port()}", f"deploy@127.0.0.1:{silent.getsockname()[1]}")
        declared = deployed.topology(base, ("deploy@10.1.0.11", ways[0]), ("deploy@10.1.0.12:2222", ways[1]))
        async with SshHosts(targets_of(declared), Login(tmp_path / "known_hosts")) as hosts:
            with pytest.raises(HostErrors) as refused:
                await hosts.facts(deployed.hosts(declared, base))
    assert [each.code for each in refused.value.errors] == ["host-unreachable", "host-unreachable"]
    assert "eu-1" in refused.value.errors[0].what and "site eu" in refused.value.errors[0].where


async def test_the_child_is_gone_when_the_run_ends(tmp_path: Path) -> None:
    declared = deployed.topology(deployed.folder(tmp_path))
    async with SshHosts(targets_of(declared), Login(tmp_path / "known_hosts")):
        await asyncio.sleep(0)
        (child,) = psutil.Process(os.getpid()).children()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
