"""Our own key: from the agent, from a file, with a passphrase; and a host that is reached over IPv6."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest

from sites.hosts import HostError
from tests.sites import deployed
from tests.sites.rollout.test_ssh import Sshd, refusal
from tests.tools import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LET_IN = "host-command-failed"  # of a server that lets us in and knows no command


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


class Door(Sshd):
    """Lets in whoever has one key, and answers every command with the same words."""

    def __init__(self, public: str, address: str = "127.0.0.1") -> None:
        self._public = public
        super().__init__(address)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == self._public.split()[1] else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Timer(0.2, self._answer, [channel]).start()
        return True

    def _answer(self, channel: paramiko.Channel) -> None:
        with suppress(OSError):
            channel.send(b"come in\n")
            channel.send_exit_status(0)
            channel.close()

    def known_as(self, address: str) -> str:
        return f"[{address}]:{self.port} ssh-rsa {self.key.get_base64()}\n"


def keygen(*words: str) -> None:
    subprocess.run([require("ssh-keygen"), "-q", *words], check=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Without a passphrase."""
    keygen("-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    return tmp_path / "key"


@pytest.fixture
def door(key: Path) -> Iterator[Door]:
    door = Door(key.with_suffix(".pub").read_text())
    yield door
    door.close()


@pytest.fixture
def agent(key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Holds the key."""
    where = tmp_path / "agent"
    running = subprocess.Popen([require("ssh-agent"), "-D", "-a", str(where)], stdout=subprocess.DEVNULL)
    try:
        while not where.exists():
            assert running.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(where))
        subprocess.run([require("ssh-add"), "-q", str(key)], check=True, stdin=subprocess.DEVNULL)
        yield
    finally:
        running.terminate()
        running.wait()


async def outcome(door: Door, base: Path, key: Path | None = None) -> HostError:
    return await refusal(door, deployed.folder(base), door.known_as("127.0.0.1"), key=key)


async def test_a_file_without_a_passphrase(door: Door, key: Path, tmp_path: Path) -> None:
    found = await outcome(door, tmp_path, key)
    assert (found.code, found.why) == (LET_IN, "come in")


@pytest.mark.usefixtures("agent")
async def test_the_agent(door: Door, tmp_path: Path) -> None:
    assert (await outcome(door, tmp_path)).code == LET_IN


async def test_a_passphrase_and_no_agent_is_said_and_nobody_is_asked(door: Door, key: Path, tmp_path: Path) -> None:
    keygen("-p", "-N", "canary-passphrase", "-f", str(key))
    given = await outcome(door, tmp_path, key)
    assert (given.code, str(key) in given.why, "ssh-add" in given.next) == ("ssh-key-encrypted", True, True)
    key.rename(tmp_path / "home" / ".ssh" / "id_ed25519")
    found = await outcome(door, tmp_path)
    assert (found.code, "~/.ssh" in found.why) == ("ssh-key-encrypted", True)


@pytest.mark.usefixtures("agent")
async def test_a_passphrase_and_an_agent_that_has_the_key(door: Door, key: Path, tmp_path: Path) -> None:
    """As ssh -i does: the file says which key, the agent has it."""
    keygen("-p", "-N", "canary-passphrase", "-f", str(key))
    assert (await outcome(door, tmp_path, key)).code == LET_IN


@pytest.mark.parametrize("content", [None, "no key at all\n"])
async def test_a_file_that_is_no_key_is_said(door: Door, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "nothing"
    if content is not None:
        file.write_text(content)
    found = await outcome(door, tmp_path, file)
    assert (found.code, str(file) in found.why) == ("ssh-key-unusable", True)


async def test_a_host_over_ipv6_is_known_by_its_address_in_brackets(key: Path, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    door, base = Door(key.with_suffix(".pub").read_text(), "::1"), deployed.folder(tmp_path)
    try:
        found = await refusal(door, base, door.known_as("::1"), address="[::1]", key=key)
        assert (found.code, f"deploy@[::1]:{door.port}" in found.where) == (LET_IN, True)
        other = f"[::1]:{door.port} ssh-rsa {paramiko.RSAKey.generate(2048).get_base64()}\n"
        assert (await refusal(door, base, other, address="[::1]", key=key)).code == "host-key-changed"
    finally:
        door.close()
