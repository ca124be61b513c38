"""One who changes at a time, between operators too: every host keeps its own lock, with a token that only grows."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from sites.hosts import HostError, HostErrors
from sites.rollout.ssh import Lock, SshHosts


@asynccontextmanager
async def locked(hosts: SshHosts, names: Sequence[str], purpose: str) -> AsyncIterator[dict[str, Lock]]:
    """All of these hosts; given back at the end, whatever happens. Raises HostErrors: those that somebody else holds,
    and then none is held."""
    told = {"id": str(ULID()).lower(), "owner": _owner(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    told["purpose"] = purpose
    taken = {name: Lock(told["id"], 0) for name in names}  # until it is heard: whoever is cut here may hold them all
    try:
        answers = await asyncio.gather(*(hosts.take_lock(name, told) for name in names), return_exceptions=True)
        errors: list[HostError] = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Lock):
                taken[name] = answer
                continue
            if isinstance(answer, BaseException) and not isinstance(answer, HostError):
                raise answer
            del taken[name]
            errors.append(answer if isinstance(answer, HostError) else _held(name, answer))
        if errors:
            raise HostErrors(errors)
        yield taken
    finally:
        await asyncio.shield(_give_back(hosts, taken))


async def unlock(hosts: SshHosts, id: str) -> tuple[dict[str, dict[str, Any] | None], dict[str, HostError]]:
    """By host: None where the lock is free now, else who holds it; and why the others did not answer."""
    answers = await asyncio.gather(*(hosts.give_lock_back(name, id) for name in hosts.targets), return_exceptions=True)
    found: dict[str, dict[str, Any] | None] = {}
    errors: dict[str, HostError] = {}
    for name, answer in zip(hosts.targets, answers, strict=True):
        if isinstance(answer, HostError):
            errors[name] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[name] = answer
    return found, errors


async def _give_back(hosts: SshHosts, taken: Mapping[str, Lock]) -> None:
    async def give_back(name: str, lock: Lock) -> None:
        with suppress(HostError):
            await hosts.give_lock_back(name, lock.id)

    await asyncio.gather(*(give_back(name, lock) for name, lock in taken.items()))


def _held(name: str, by: Mapping[str, Any]) -> HostError:
    return HostError(
        "host-locked",
        f"host {name} is being changed by somebody else",
        where=f"{by.get('owner', 'unknown')}, since {by.get('since', 'unknown')}, for {by.get('purpose', 'unknown')}",
        why="two at once would undo each other's work",
        next=f"wait until it is done. If that run is dead: towpath unlock {by.get('id', 'ID')}",
    )


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} process {os.getpid()}"
