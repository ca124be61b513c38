"""The child process that speaks SSH, as far as it gets without a host: every host that cannot be reached, at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import paramiko
import psutil
import pytest

from sites.desired.inventory import targets_of
from sites.hosts import HostError, HostErrors
from sites.rollout.ssh import Login, SshHosts
from tests.sites import deployed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def modules_of_this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))


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


class Sshd(paramiko.ServerInterface):
    """Enough of an SSH server to show its key, on a thread; it lets nobody in."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.key = paramiko.RSAKey.generate(2048)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, 0), family=family)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(self._listening.accept()[0])
                transport.add_server_key(self.key)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=self)

    def close(self) -> None:
        self._listening.close()


async def refusal(
    sshd: Sshd, base: Path, known: str, *, address: str = "127.0.0.1", key: Path | None = None
) -> HostError:
    """What is said of a host that shows this server's key, when ``known`` is in the known_hosts file."""
    (base / "known_hosts").write_text(known)
    declared = deployed.topology(base, ("deploy@10.1.0.11", f"'deploy@{address}:{sshd.port}'"))
    targets = {"eu-1": targets_of(declared)["eu-1"]}
    async with SshHosts(targets, Login(base / "known_hosts", key)) as hosts:
        with pytest.raises(HostErrors) as refused:
            await hosts.facts({"eu-1": deployed.hosts(declared, base)["eu-1"]})
    (error,) = refused.value.errors
    return error


@pytest.mark.attack("A-host-key")
async def test_an_unknown_key_and_a_changed_one_end_it_with_fingerprints(tmp_path: Path) -> None:
    base, sshd, other = deployed.folder(tmp_path), Sshd(), paramiko.RSAKey.generate(2048)
    try:
        unknown = await refusal(sshd, base, "")
        assert (unknown.code, sshd.key.fingerprint in unknown.why) == ("host-key-unknown", True)
        assert f"ssh-rsa {sshd.key.get_base64()}" in unknown.next, "what to write, once it was compared"
        changed = await refusal(sshd, base, f"[127.0.0.1]:{sshd.port} ssh-rsa {other.get_base64()}\n")
        assert changed.code == "host-key-changed"
        assert sshd.key.fingerprint in changed.why and other.fingerprint in changed.why
        known = await refusal(sshd, base, f"[127.0.0.1]:{sshd.port} ssh-rsa {sshd.key.get_base64()}\n")
        assert known.code == "ssh-refused", "its key is right, and it lets nobody in"
    finally:
        sshd.close()


async def test_the_child_is_gone_when_the_run_ends(tmp_path: Path) -> None:
    declared = deployed.topology(deployed.folder(tmp_path))
    async with SshHosts(targets_of(declared), Login(tmp_path / "known_hosts")):
        await asyncio.sleep(0)
        children = psutil.Process(os.getpid()).children()  # dead ones of other tests, too: they have no command line
        alive = (each for each in children if each.status() != psutil.STATUS_ZOMBIE)
        (child,) = (each for each in alive if "sites.remote" in each.cmdline())
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_a_disk_that_takes_too_long_is_no_lost_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = SshHosts({}, Login(tmp_path / "known_hosts"))
    asked: list[dict[str, Any]] = []

    async def never(host: str, verb: str, told: dict[str, Any], seconds: int) -> Any:
        asked.append(told)
        await asyncio.Event().wait()

    monkeypatch.setattr(hosts, "_ask", never)
    with pytest.raises(HostError) as refused:
        await hosts.sizes("eu-1", ["/var/lib/towpath/ci-1"], seconds=0.05)
    assert (refused.value.code, refused.value.what) == ("size-unknown", "did not answer in 0.05 s")
    assert asked == [{"sizes": ["/var/lib/towpath/ci-1"], "seconds": 2}], "the host gives up by itself too"
