"""Hosts under pyinfra: connected once, at the beginning, then looked at (a fact) and changed (a command)."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

import gevent
from gevent.lock import BoundedSemaphore
from paramiko.ssh_exception import SSHException
from pyinfra.api import Config, FactBase, Host, Inventory, State, StringCommand
from pyinfra.api.command import QuoteString
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors import util as pyinfra_util
from pyinfra.context import ctx_state

from sites.on_host import program
from sites.remote import host_keys, own_key

SECONDS = 8  # for a connection, a banner, a login and a channel each: paramiko's own patience knows no cut link
_SILENCE = 20  # after which a link counts as cut, instead of the whole time that a change may take
_CUT = (SSHException, EOFError, OSError)  # what paramiko raises for a connection that ends
_SUDO = ("sudo: ", "sudo-rs: ")


class Failed(Exception):
    """One request at one host: ``code``, ``what`` (continues "host NAME ..."), ``why``, ``next``."""

    def __init__(self, code: str, what: str, why: str = "", next: str = "") -> None:
        super().__init__(what)
        self.told = {"code": code, "what": what, "why": why, "next": next}


class Look(FactBase[dict[str, Any]]):
    """Everything that we ask of a host, in one round trip. Its questions come on stdin."""

    def command(self) -> StringCommand:
        """Always succeeds, so that what went wrong is read, and not the default of a fact that failed."""
        return StringCommand(*_on_host("look"), "2>&1", "||", "true")

    def process(self, output: list[str]) -> dict[str, Any]:
        with suppress(ValueError, IndexError):
            said = json.loads(output[-1])
            if isinstance(said, dict):
                return said
        return {"said": "\n".join(output)}


class Raw:
    """Bytes where pyinfra takes lines of text for a command's stdin: they go out as they are."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def endswith(self, _: str) -> bool:
        return True  # nothing is put behind them

    def encode(self) -> bytes:
        return self._content


def _on_host(name: str) -> tuple[Any, ...]:
    """``-I``: nothing of the caller's environment or folder is imported."""
    return "sudo", "-n", "--", "python3", "-I", "-c", QuoteString(program(name))


class Connections:
    """All hosts of one run. ``spec``: as sites/remote/__init__.py describes its first line."""

    def __init__(self, spec: dict[str, Any]) -> None:
        host_keys.insist()
        pyinfra_util.getpass = _nobody_types  # type: ignore[assignment]
        self._key_unusable: own_key.KeyUnusable | None = None
        try:
            key = own_key.chosen(spec.get("key"))
        except own_key.KeyUnusable as unusable:
            key, self._key_unusable = None, unusable
        hosts = [(name, _data(each, {**spec, "key": key})) for name, each in spec["hosts"].items()]
        config = Config(CONNECT_TIMEOUT=SECONDS, PARALLEL=max(1, len(hosts)))
        self._state = State(Inventory((hosts, {})), config, check_for_changes=False)
        ctx_state.set(self._state)
        self._refused: dict[str, Failed] = {}
        self._one_at_a_time = {name: BoundedSemaphore() for name in spec["hosts"]}
        for name in spec["hosts"]:
            gevent.spawn(self._connect_early, name)

    def look(self, host: str, told: dict[str, Any], seconds: int) -> dict[str, Any]:
        """Raises Failed."""
        found: dict[str, Any] | None = None
        with suppress(PyinfraError, *_CUT):
            target = self._connected(host)
            asked = time.time()  # when it is connected: what is compared is the way of one question
            found = target.get_fact(Look, _stdin=[json.dumps(told)], _timeout=seconds)
        if found is None:
            raise Failed(
                "host-lost", "stopped answering", next="see that it runs and is reachable, then run this again"
            )
        if "said" in found:
            raise _unfit(found["said"])
        return {**found, "asked": asked, "answered": time.time()}

    def change(self, host: str, told: dict[str, Any], seconds: int) -> list[dict[str, Any]]:
        """The lines that ``on_host/change.py`` answered. Raises Failed."""
        target, command = self._connected(host), StringCommand(*_on_host("change"))
        told, archives = _with_archives(told)
        sent: list[Any] = [json.dumps(told), *map(Raw, archives)]
        try:
            succeeded, said = target.run_shell_command(command, _stdin=sent, _timeout=seconds)
        except (PyinfraError, *_CUT) as error:
            raise _lost(str(error)) from None
        return _answered(said.stdout_lines, said.stderr_lines, succeeded)

    def _connect_early(self, name: str) -> None:
        """Before the first request: who asks works out meanwhile what to ask. That request hears of a refusal."""
        with self._one_at_a_time[name]:
            try:
                self._connect(name)
            except Failed as refused:
                self._refused[name] = refused

    def _connected(self, name: str) -> Host:
        with self._one_at_a_time[name]:
            if refused := self._refused.pop(name, None):
                raise refused
            return self._connect(name)

    def _connect(self, name: str) -> Host:
        if self._key_unusable:
            raise Failed(**self._key_unusable.told)
        host = self._state.inventory.get_host(name)
        try:
            host.connect(show_errors=False, raise_exceptions=True)
        except ConnectError as error:
            raise _unreachable(error) from error
        _notice_a_cut(host)
        return host


def _notice_a_cut(host: Host) -> None:
    """A cut link says nothing. We ask now and then, and what nobody acknowledges ends the connection (tcp(7))."""
    transport = cast(Any, host.connector).client.get_transport()
    transport.set_keepalive(SECONDS)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE * 1000)


def _data(host: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    patience = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), SECONDS)
    data = {
        "ssh_hostname": host["address"],
        "ssh_port": host["port"],
        "ssh_known_hosts_file": spec["known_hosts"],
        "ssh_strict_host_key_checking": "yes",
        "ssh_paramiko_connect_kwargs": patience,
    }
    if host.get("user"):
        data["ssh_user"] = host["user"]
    if spec.get("key"):
        data["ssh_key"] = spec["key"]
    return data


def _with_archives(told: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The archives that actions name by path, read here, and the actions with their size and hash."""
    actions, contents = [], []
    for each in told.get("actions", ()):
        if "archive" in each:
            content, sha256 = _archive(each["archive"])
            kept = {name: value for name, value in each.items() if name != "archive"}
            actions.append({**kept, "size": len(content), "sha256": sha256})
            contents.append(content)
        else:
            actions.append(each)
    return ({**told, "actions": actions} if "actions" in told else told), contents


@cache
def _archive(path: str) -> tuple[bytes, str]:
    """Read once for all hosts."""
    content = Path(path).read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def _answered(lines: list[str], errors: list[str], succeeded: bool) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    if succeeded or (found and "failed" in found[-1]):
        return found
    if not errors and len(found) == len(lines):  # it was doing well when we heard the last of it
        raise _lost()
    raise _unfit("\n".join([*errors, *lines]))


def _lost(why: str = "") -> Failed:
    return Failed("host-lost", "stopped answering", why=why, next="run the same command again: it goes on from there")


def _unreachable(error: ConnectError) -> Failed:
    if told := host_keys.refusal(error):
        return Failed(**told)
    text = str(error)
    if own_key.ENCRYPTED in text:
        return Failed(**own_key.encrypted("the key in ~/.ssh").told)
    if "authentication" in text.lower() or "key" in text.lower():
        return Failed(
            "ssh-refused",
            "does not let us in",
            why=text,
            next="put the public half of the key in the user's authorized_keys there; give another key with --ssh-key",
        )
    return Failed("host-unreachable", "cannot be reached", why=text, next="see that it runs and that ssh gets there")


def _unfit(said: str) -> Failed:
    """What the shell said in place of an answer."""
    last = said.strip().splitlines()[-6:]
    why = "\n".join(last)
    if any(line.startswith(_SUDO) for line in last):
        return Failed(
            "sudo-refused",
            "does not let the user become root without a password",
            why=why,
            next="allow it: USER ALL=(root) NOPASSWD: ALL in /etc/sudoers.d/towpath; `sudo -n true` must work there",
        )
    if "not found" in said:
        return Failed("host-unfit", "lacks a program", why=why, next="install sudo and python3 there (Debian: apt-get)")
    return Failed(
        "host-command-failed", "could not do what it was told", why=why, next="see the host's own words above"
    )


def _nobody_types(*_: object) -> NoReturn:
    raise PyinfraError("sudo asks for a password")
