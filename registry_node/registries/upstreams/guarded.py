"""One upstream: a registry behind a guard, and within its budget."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import httpx

from oci_wire.client import RemoteRegistry
from oci_wire.errors import UpstreamFailed
from registry_node.registries.upstreams.asked import UpstreamStatus
from registry_node.registries.upstreams.budget import Allowance
from registry_node.registries.upstreams.budget_file import BudgetFile
from registry_node.registries.upstreams.guard import Guard
from registry_node.registries.upstreams.remote import client_of, is_docker_hub
from registry_node.settings.mirror import Upstream

T = TypeVar("T")


class Guarded(Guard):
    """``registry`` under the name ``name``."""

    def __init__(
        self,
        name: str,
        registry: RemoteRegistry,
        *,
        answer_seconds: float,
        connections: int = 16,
        absent_when_refused: bool = False,
        bytes_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            name,
            answer_seconds=answer_seconds,
            connections=connections,
            absent_when_refused=absent_when_refused,
            bytes_per_second=bytes_per_second,
            clock=clock,
        )
        self.registry = registry
        self._allowance = Allowance()
        self.changed: Callable[[Allowance], None] = lambda _: None

    async def ask_manifest(self, question: Callable[[], Awaitable[T]], *, head: bool, refresh: bool = False) -> T:
        """As ``ask``, within the budget. ``refresh``: an older copy is in the cache, so that it can be refused."""
        now = time.time()
        if wait := self._allowance.wait(now, head=head):
            raise self._kept_back("limited", "it gives no more manifests for now", wait)
        if refresh and not head and self._allowance.keeps(now):
            raise self._kept_back("budget", "what is left of its manifests is kept for what is in no cache", None)
        try:
            return await self.ask(question)
        except UpstreamFailed as error:
            if error.reason == "limited":
                self._note(self._allowance.refused(time.time(), error.retry_after, head=head))
            raise

    async def heard(self, response: httpx.Response) -> None:
        """The head of any answer of its: what it says of the budget, else what this one cost."""
        if "/manifests/" not in response.request.url.path:
            return
        learned = self._allowance.learned(response.headers, time.time())
        if learned is self._allowance and response.request.method == "GET" and response.status_code == 200:
            learned = learned.spent(time.time())
        self._note(learned)

    def begin_with(self, allowance: Allowance) -> None:
        """What is known of its budget from before."""
        self._allowance = allowance

    def status(self) -> UpstreamStatus:
        now, tally = self._clock(), self.tally
        return UpstreamStatus(
            self.name,
            self._circuit.state(now),
            self._circuit.wait(now),
            self._allowance.remaining(time.time()),
            self._allowance.limit,
            dict(tally.outcomes),
            tally.received,
            tally.last_error,
        )

    async def aclose(self) -> None:
        await self.registry.aclose()

    def _note(self, allowance: Allowance) -> None:
        if allowance != self._allowance:
            self._allowance = allowance
            self.changed(allowance)


def guarded_of(upstream: Upstream, answer_seconds: float, budgets: BudgetFile) -> Guarded:
    """An upstream of the settings. Raises OSError when the file of its authority cannot be read."""
    key = f"{upstream.name} {upstream.url}"
    declared = upstream.budget
    heard: list[Guarded] = []

    async def hear(response: httpx.Response) -> None:
        await heard[0].heard(response)

    guarded = Guarded(
        upstream.name,
        client_of(
            upstream,
            answer_seconds=answer_seconds,
            connections=upstream.connections,
            heard=hear,
            front=upstream.front,
        ),
        answer_seconds=answer_seconds,
        connections=upstream.connections,
        absent_when_refused=upstream.credentials is None or is_docker_hub(upstream),
        bytes_per_second=upstream.bytes_per_second,
    )
    heard.append(guarded)
    begun = Allowance.declared(declared.pulls, declared.seconds) if declared else Allowance()
    guarded.begin_with(budgets.load(key) or begun)
    guarded.changed = partial(budgets.note, key)
    return guarded
