"""A plan carried out: everything that touches nothing first, then wave by wave, host by host, node by node.

Each node that was changed must pass its health gate before the next one is touched; only on hosts where nothing runs,
behind a node that has passed it, several start at once. One that does not pass gets back what it had, and the rollout
stops there: what was done stays, what was not reached is untouched, and the same command goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile

from sites.desired.inventory import Target
from sites.hosts import HostError
from sites.planning.actions import Action, ReloadUnits, Unit
from sites.planning.host_plan import HostPlan, NodePlan, ProxyPlan
from sites.planning.trial import put_back
from sites.rollout.addresses import former_url
from sites.rollout.canary import Gate
from sites.rollout.promises import Promise, promise_of
from sites.rollout.replicas import CATCH_UP_SECONDS, FRESH_SECONDS, POLL_SECONDS, behind, copies_of
from sites.rollout.ssh import Lock, SshHosts
from topology.model import Topology

Watch = Callable[[str, str], None]  # host, what happened
Step = Callable[[str], Awaitable[None]]  # at one host
AT_ONCE = 8  # nodes of one host: sshd lets a connection hold 10 sessions (sshd_config(5), MaxSessions)


class Outcome(StrEnum):
    DONE = "done"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled back"  # the node that failed runs as before
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(slots=True)
class HostResult:
    host: str
    site: str
    outcome: Outcome
    error: HostError | None = None


@dataclass
class Rollout:
    """``locks``: of the hosts that have something to do. ``urls``: of all nodes of ours. ``patience``: seconds
    that replicas have to catch up before a node of their scope goes down."""

    topology: Topology
    hosts: SshHosts
    plans: Mapping[str, HostPlan]
    urls: Mapping[str, str]
    gate: Gate
    locks: Mapping[str, Lock]
    watch: Watch
    patience: float = CATCH_UP_SECONDS
    _began: float = field(default_factory=time.time, init=False)
    _results: dict[str, HostResult] = field(default_factory=dict, init=False)
    _went_back: set[str] = field(default_factory=set, init=False)  # nodes that run as before
    _proven: bool = field(default=False, init=False)  # a node has passed its gate

    async def run(self, waves: Sequence[Sequence[Target]]) -> list[HostResult]:
        """One result a host, in the order of the plans. Never raises for what a host refuses."""
        for name, plan in self.plans.items():
            outcome = Outcome.NOT_REACHED if plan.changes else Outcome.UNCHANGED
            self._results[name] = HostResult(name, plan.host.target.site, outcome)
        if await self._each(self._prepare, [name for name, plan in self.plans.items() if plan.changes]):
            for wave in waves:
                if not await self._each(self._bring_on, [each.name for each in wave if self.plans[each.name].changes]):
                    break
            else:
                await self._each(self._clear, self._to_clear(waves))
        return list(self._results.values())

    async def _each(self, step: Step, names: Sequence[str]) -> bool:
        """At all of these hosts at once; whether all of them succeeded."""
        await asyncio.gather(*(self._watched(step, name) for name in names))
        return all(self._results[name].error is None for name in names)

    async def _watched(self, step: Step, name: str) -> None:
        try:
            await step(name)
        except HostError as error:
            result = self._results[name]
            result.error = error
            if result.outcome is not Outcome.ROLLED_BACK:
                result.outcome = Outcome.FAILED
            self.watch(name, f"{result.outcome}: {error.what}")

    async def _prepare(self, name: str) -> None:
        plan = self.plans[name]
        if plan.prepare:
            await self.hosts.apply(name, plan.prepare, self.locks[name])
            self.watch(name, "prepared: " + ", ".join(f"{row.operation} {row.change}" for row in plan.rows))

    async def _bring_on(self, name: str) -> None:
        plan = self.plans[name]
        await self._remove(name, first=True)
        if not plan.proxy.goes:
            await self._proxy(name, plan)
        settle = await self._nodes(name, plan)
        if plan.proxy.goes:
            await self._do(name, settle)
            settle = ()
            await self._proxy(name, plan)
        finish = () if plan.removal and plan.removal.leaving else plan.finish
        await self._do(name, (*settle, *finish))
        self._results[name].outcome = Outcome.DONE

    async def _do(self, name: str, actions: tuple[Action, ...]) -> None:
        if actions:
            await self.hosts.apply(name, actions, self.locks[name])

    def _to_clear(self, waves: Sequence[Sequence[Target]]) -> list[str]:
        """Hosts that some nodes leave, and those that hold no others."""
        reached = {each.name for wave in waves for each in wave}
        leaving = {name for name, plan in self.plans.items() if plan.removal and plan.removal.leaving}
        return [name for name, plan in self.plans.items() if name in leaving or (plan.changes and name not in reached)]

    async def _clear(self, name: str) -> None:
        """When every node that stays has passed its gate: until then those that leave may still be asked for images."""
        if self.plans[name].proxy.goes and self._results[name].outcome is not Outcome.DONE:
            await self._proxy(name, self.plans[name])
        await self._remove(name, first=False)
        await self.hosts.apply(name, self.plans[name].finish, self.locks[name])
        self._results[name].outcome = Outcome.DONE

    async def _remove(self, name: str, *, first: bool) -> None:
        removal = self.plans[name].removal
        for each in removal.leaving if removal else ():
            if each.first is first:
                await self.hosts.apply(name, each.actions, self.locks[name])
                self.watch(name, f"{each.node} is removed; its data is in the trash")

    async def _proxy(self, name: str, plan: HostPlan) -> None:
        """nginx as it must be; nodes that stay as they are must be reached through it, or what it had comes back."""
        proxy, apply = plan.proxy, self.hosts.apply
        if not proxy.actions:
            return
        await apply(name, proxy.actions, self.locks[name])
        try:
            for each in plan.nodes:
                if not each.actions:
                    await self.gate.check(each.node.name, self.urls[each.node.name], each.node.settings)
        except HostError as error:
            raise await self._former_proxy(name, proxy, error) from None
        await apply(name, proxy.settle, self.locks[name])
        self.watch(name, "nginx passes nobody on any more" if proxy.goes else "nginx passes clients on")

    async def _former_proxy(self, name: str, proxy: ProxyPlan, error: HostError) -> HostError:
        try:
            await self.hosts.apply(name, proxy.back, self.locks[name])
        except HostError as failed:
            why = f"{error.why}\nwhat nginx had before could not be brought back: {failed.why}"
            return error.but(why=why)
        self._results[name].outcome = Outcome.ROLLED_BACK
        return error

    async def _nodes(self, name: str, plan: HostPlan) -> tuple[Action, ...]:
        """One after the other. Where nothing runs yet nobody is interrupted: there those that read no other's data start
        at once, when a node of this rollout has shown elsewhere that the release does its work. Returns what settles the
        last of them."""
        waiting = [each for each in plan.nodes if each.actions]
        settle: tuple[Action, ...] = ()
        while waiting:
            await self._do(name, settle)
            alone = list(takewhile(lambda each: each.node.settings.kind == "local", waiting))[:AT_ONCE]
            some = alone if plan.idle and self._proven and alone else waiting[:1]
            answers = await asyncio.gather(*(self._node(name, each) for each in some), return_exceptions=True)
            passed = (each for each, answer in zip(some, answers, strict=True) if answer is None)
            settle = tuple(action for each in passed for action in each.settle)
            if any(answers):
                failed = {each.node.name for each, answer in zip(some, answers, strict=True) if answer is not None}
                if failed <= self._went_back:  # of one that did not, the host is told as failed
                    self._results[name].outcome = Outcome.ROLLED_BACK
                with suppress(
                    HostError
                ):  # what failed first is told; one left on trial is restarted once more, no worse
                    await self._do(name, settle)
                _raise_any(answers)
            waiting = waiting[len(some) :]
        return settle

    async def _node(self, name: str, plan: NodePlan) -> None:
        """Until it has passed its gate; the caller settles it."""
        node = plan.node
        if plan.starts and plan.runs:
            await self._keep_promise(name, node.name)
        try:
            await self.hosts.apply(name, plan.actions, self.locks[name])
            await self.gate.check(node.name, self.urls[node.name], node.settings)
        except HostError as error:
            raise await self._back(name, plan, error) from None
        self._proven = True
        self.watch(name, f"{node.name} {'runs and serves' if plan.starts else 'has taken its settings'}")

    async def _keep_promise(self, host: str, node: str) -> None:
        """Raises HostError when the scope would be left with fewer serving nodes than it may have, or with such as do not
        hold its images."""
        promise = promise_of(self.topology, node)
        if promise is None:
            return
        until = time.monotonic() + self.patience
        while True:
            found = await asyncio.gather(*(self._answering(each) for each in (node, *promise.sisters)))
            there = {name: url for name, url in zip((node, *promise.sisters), found, strict=True) if url is not None}
            _enough_serve(promise, node, [each for each in promise.sisters if each in there])
            if node not in there:
                return  # it serves nobody that could miss it
            copies = await copies_of(self.gate, self.topology, node, there, self._began - FRESH_SECONDS)
            if not promise.missing([each.sister for each in copies if each.enough]):
                break
            if time.monotonic() >= until:
                raise behind(self.topology, node, copies, self.patience)
            await asyncio.sleep(POLL_SECONDS)
        for each in copies:
            if each.uncompared:
                self.watch(host, f"{each.sister} was not compared with {node}: {each.uncompared}")

    async def _answering(self, node: str) -> str | None:
        """Where it serves: at its address, or, when the rollout has not come to it yet, at the one that it had."""
        if await self.gate.serves(self.urls[node]):
            return self.urls[node]
        plan = next((each for each in self.plans.values() if node in each.host.target.nodes), None)
        former = former_url(self.topology, plan, node) if plan else None
        there = former is not None and former != self.urls[node] and await self.gate.serves(former)
        return former if there else None

    async def _back(self, name: str, plan: NodePlan, error: HostError) -> HostError:
        """The node as it was; one that was not there before is stopped. Returns what to report."""
        if error.code == "host-lost":
            return error  # nothing can be done from here; the next run sees what there is
        try:
            await self.hosts.apply(name, way_back(plan), self.locks[name])
        except HostError as failed:
            return _neither(plan, error, failed)
        if not plan.was_there:
            return _stopped(error)
        self._went_back.add(plan.node.name)
        return error


def _enough_serve(promise: Promise, node: str, serving: Sequence[str]) -> None:
    """Raises HostError."""
    if missing := promise.missing(serving):
        raise HostError(
            "promise-at-risk",
            f"node {node} was left alone: too little of scope {promise.scope} would serve while it restarts",
            why=f"of {', '.join(promise.sisters)} these serve: {', '.join(serving) or 'none'}; {missing} more wanted",
            next="bring those back first (towpath status), then run the same command again",
        )


def _raise_any(answers: Sequence[BaseException | None]) -> None:
    """One error of a host, which names the nodes of the others."""
    failed = [each for each in answers if isinstance(each, HostError)]
    for each in answers:
        if isinstance(each, BaseException) and not isinstance(each, HostError):
            raise each
    if failed:
        first, others = failed[0], (f"also: {each.what}: {each.why}" for each in failed[1:])
        raise first.but(why="\n".join([first.why, *others]))


def _stopped(error: HostError) -> HostError:
    """What is reported of a node that had nothing to go back to."""
    return error.but(what=f"{error.what}; it was stopped, as it has never passed its health gate here")


def _neither(plan: NodePlan, error: HostError, failed: HostError) -> HostError:
    """What is reported when the way back failed too."""
    if plan.was_there and plan.starts and failed.code != "host-lost":
        then = "what it had before does not run either: the node is down"
    else:
        then = "what it had before could not be brought back" if plan.was_there else "it could not be stopped"
    why = f"{error.why}\non the way back: {failed.what}: {failed.why}"
    return error.but(what=f"{error.what}, and {then}", why=why)


def way_back(plan: NodePlan) -> tuple[Action, ...]:
    """What undoes a node's change."""
    node = plan.node
    if not plan.was_there:
        return (Unit("stop", node.unit),)
    again = (Unit("restart", node.unit),) if plan.starts else ()
    return (put_back(node.name), ReloadUnits(), *again, *plan.settle)
