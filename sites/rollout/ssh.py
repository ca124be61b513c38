"""Hosts over SSH, from the side of asyncio: a child process speaks pyinfra (sites/remote), we speak JSON lines with it.

Every request has a deadline here too, since a cut link can outlive every patience below; the child is a process group
of its own and is gone, whatever it was doing, when the ``async with`` ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from sites.desired.hosts import DesiredHost
from sites.desired.inventory import Target, known_hosts
from sites.hosts import HostError, HostErrors
from sites.planning.actions import Action
from sites.planning.facts import HostFacts, questions, read_facts

LOOK_SECONDS = 30
SIZE_SECONDS = 5.0  # a figure for a person, who waits for it
CHANGE_SECONDS = 180  # unpacking a release, or a node that starts slowly
_MARGIN = 10.0  # seconds beyond the child's own deadline
_LINE = 256 * 1024 * 1024  # bytes of the longest answer


@dataclass(frozen=True, slots=True)
class Login:
    """How we show ourselves, and what hosts are checked against. ``key`` None: the agent and the user's own keys."""

    known_hosts: Path
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Lock:
    """The right to change a host: given by the host itself, with a token that its next holder's is greater than."""

    id: str
    token: int


@dataclass
class SshHosts:
    """``async with SshHosts(targets, login) as hosts:``"""

    targets: Mapping[str, Target]
    login: Login
    _child: asyncio.subprocess.Process | None = field(default=None, init=False)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict, init=False)
    _ids: Any = field(default_factory=count, init=False)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)
    _reader: asyncio.Task[None] | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="towpath-")))
        known = folder / "known_hosts"
        known.write_text(known_hosts(dict(self.targets), self.login.known_hosts))
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "sites.remote"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
            limit=_LINE,
        )
        self._log = folder / "log"
        self._reader = asyncio.create_task(self._read())
        hosts = {
            name: {"address": each.address, "port": each.port, "user": each.user} for name, each in self.targets.items()
        }
        key = str(self.login.key.resolve()) if self.login.key else None
        await self._send({"hosts": hosts, "known_hosts": str(known), "key": key})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None and self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            await self._child.wait()
        if self._reader is not None:
            self._reader.cancel()
        self._stack.close()

    async def facts(self, hosts: Mapping[str, DesiredHost]) -> dict[str, HostFacts]:
        """Of all of them at once. Raises HostErrors: every host that did not say, before anything was changed."""
        found, errors = await self.facts_where_possible(hosts)
        if errors:
            raise HostErrors(list(errors.values()))
        return found

    async def facts_where_possible(
        self, hosts: Mapping[str, DesiredHost]
    ) -> tuple[dict[str, HostFacts], dict[str, HostError]]:
        """Those that said, and why the others did not."""
        asked = {name: self._ask(name, "look", questions(each), LOOK_SECONDS) for name, each in hosts.items()}
        answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        found: dict[str, HostFacts] = {}
        errors: dict[str, HostError] = {}
        for name, answer in zip(asked, answers, strict=True):
            try:
                if isinstance(answer, BaseException):
                    raise answer
                found[name] = read_facts(name, answer)
            except HostError as error:
                errors[name] = error
        return found, errors

    async def sizes(self, host: str, folders: Sequence[str], seconds: float = SIZE_SECONDS) -> dict[str, int]:
        """The bytes that folders take on a host. Raises HostError, also when a disk needs longer than this to say."""
        told = {"sizes": list(folders), "seconds": ceil(seconds) + 1}  # then the host gives up too
        try:
            async with asyncio.timeout(seconds):
                answer = await self._ask(host, "look", told, LOOK_SECONDS)
        except TimeoutError:
            raise HostError("size-unknown", f"did not answer in {seconds:g} s", where=f"host {host}") from None
        return {str(path): int(taken) for path, taken in answer.items()}

    async def contents(self, host: str, files: Sequence[str]) -> dict[str, str]:
        """What stands in text files of a host, secrets too; those that are not there are left out. Raises HostError."""
        answer = await self._ask(host, "look", {"contents": list(files)}, LOOK_SECONDS)
        return {path: said for path, said in answer.items() if isinstance(said, str)}

    async def apply(self, host: str, actions: Sequence[Action], lock: Lock) -> None:
        """In order; stops at the first that fails. Raises HostError."""
        if not actions:
            return
        told = {"lock": {"id": lock.id, "token": lock.token}, "actions": [each.told() for each in actions]}
        answers = await self._ask(host, "change", told, CHANGE_SECONDS)
        for each in answers:
            if "failed" in each:
                raise HostError(
                    "host-change-failed",
                    f"host {host} could not be changed",
                    where=actions[each["failed"]].command,
                    why=each["error"],
                    next="mend that on the host, then run the same command again: it goes on from there",
                )
        if len(answers) < len(actions):
            raise self._lost(host, "change")

    async def take_lock(self, host: str, told: Mapping[str, Any]) -> Lock | dict[str, Any]:
        """The lock, or whose it is."""
        answer = await self._locking(host, {"verb": "take", "lock": dict(told)})
        return Lock(told["id"], answer["token"]) if "token" in answer else dict(answer["held"])

    async def give_lock_back(self, host: str, id: str) -> dict[str, Any] | None:
        """None when it is free now, or whose it is."""
        answer = await self._locking(host, {"verb": "give_back", "id": id})
        return dict(answer["held"]) if "held" in answer else None

    async def _locking(self, host: str, told: dict[str, Any]) -> dict[str, Any]:
        answers = await self._ask(host, "change", told, LOOK_SECONDS)
        if not answers:
            raise self._lost(host, "lock")
        return dict(answers[-1]["answer"])

    async def _ask(self, host: str, verb: str, told: dict[str, Any], seconds: int) -> Any:
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "host": host, "verb": verb, "told": told, "seconds": seconds}
        try:
            async with asyncio.timeout(seconds + _MARGIN):
                await self._send(request)
                answer = await self._waiting[number]
        except (TimeoutError, ConnectionError):
            raise self._lost(host, verb) from None
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise _refusal(host, self.targets[host], answer["error"])
        return answer["answer"]

    async def _send(self, told: dict[str, Any]) -> None:
        assert self._child is not None and self._child.stdin is not None
        self._child.stdin.write(json.dumps(told).encode() + b"\n")
        await self._child.stdin.drain()

    async def _read(self) -> None:
        assert self._child is not None and self._child.stdout is not None
        async for line in self._child.stdout:
            told = json.loads(line)
            waiting = self._waiting.get(told["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(told)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the SSH process ended"))

    def _lost(self, host: str, verb: str) -> HostError:
        ended = self._child is not None and self._child.returncode is not None
        said = self._log.read_text(errors="replace").strip().splitlines()[-5:] if ended else []
        return HostError(
            "host-lost",
            f"host {host} stopped answering ({verb})",
            where=str(self.targets[host].known_as),
            why="\n".join(said) or "no answer within the deadline",
            next="see that it runs and is reachable, then run the same command again: it goes on from there",
        )


def _refusal(host: str, target: Target, told: Mapping[str, str]) -> HostError:
    where = f"{target.user + '@' if target.user else ''}{target.known_as} (site {target.site})"
    return HostError(told["code"], f"host {host} {told['what']}", where=where, why=told["why"], next=told["next"])
