"""Locks of hosts: given back by a run that is cut while it takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from sites.hosts import HostErrors
from sites.rollout.locks import locked
from sites.rollout.ssh import Lock, SshHosts


class Hosts:
    """``slow``: hosts that take the lock, and whose answer nobody hears. ``held``: those that somebody else holds."""

    def __init__(self, slow: str = "", held: str = "") -> None:
        self.slow, self.held, self.by = slow, held, {}  # type: tuple[str, str, dict[str, str]]
        self.given: list[str] = []
        self.asked = asyncio.Event()

    async def take_lock(self, host: str, told: Mapping[str, Any]) -> Lock | dict[str, Any]:
        if host == self.held:
            return {"id": "another", "owner": "somebody"}
        self.by[host] = told["id"]
        if host == self.slow:
            self.asked.set()
            await asyncio.Event().wait()
        return Lock(told["id"], 1)

    async def give_lock_back(self, host: str, id: str) -> dict[str, Any] | None:
        self.given.append(host)
        if self.by.get(host) == id:
            del self.by[host]
        return None


async def test_a_run_that_is_cut_while_it_takes_them_gives_them_back() -> None:
    hosts = Hosts(slow="b")

    async def run() -> None:
        async with locked(cast(SshHosts, hosts), ["a", "b"], "a test"):
            raise AssertionError("b never answered")

    task = asyncio.create_task(run())
    await hosts.asked.wait()
    assert set(hosts.by) == {"a", "b"}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hosts.by == {}


async def test_of_hosts_that_somebody_else_holds_the_others_are_given_back() -> None:
    hosts = Hosts(held="b")
    with pytest.raises(HostErrors) as refused:
        async with locked(cast(SshHosts, hosts), ["a", "b"], "a test"):
            raise AssertionError("b is held")
    assert [each.code for each in refused.value.errors] == ["host-locked"]
    assert hosts.by == {} and hosts.given == ["a"]
