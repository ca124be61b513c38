"""A node that serves its scope goes down only while another one holds what it holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from oci_wire.errors import Unreachable
from oci_wire.memory import MemoryRegistry
from sites.hosts import HostError
from sites.rollout import replicas, rolling
from sites.rollout.canary import Gate
from sites.rollout.replicas import copies_of
from tests.contract.content import push
from tests.nodes import SECRETS, running
from tests.sites import deployed
from tests.sites.rollout import test_proxy
from tests.sites.rollout.test_rolling import AnyGate, Hosts, Outcome, outcomes, rolled

NEVER = ("on: event, deletes: trash}", "on: event}")
FILTERED = ("on: event, deletes: trash}", "on: event, repositories: ['apps/**']}")
UNFED = ("  - {id: everywhere, from: sandbox-1, to: [sandbox-2], on: event, deletes: trash}\n", "  []\n")
THREE = (
    "  ci-2: {kind",
    "  sandbox-3: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-3, port: 5001}\n  ci-2: {kind",
)
HOST_THREE = ("failureDomain: b}\n", "failureDomain: b}\n      eu-3: {ssh: deploy@10.1.0.13, failureDomain: c}\n")
TO_THREE = ("to: [sandbox-2], on: event, deletes: trash", "to: [sandbox-2, sandbox-3], on: event")


async def holding(count: int, *, pushed: float = 0.0, fresh: int = 0) -> MemoryRegistry:
    """Tags of the time ``pushed``, and ``fresh`` ones that were pushed just now."""
    now = [pushed]
    registry = MemoryRegistry(clock=lambda: now[0])
    for word, many in (("v", count), ("new", fresh)):
        if many:
            await push(registry, "apps/api", word.encode(), tags=[f"{word}{number}" for number in range(many)])
        now[0] = time.time()
    return registry


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


async def upgraded(base: Path, primary: int, replica: int, *changes: tuple[str, str]) -> tuple[HostError | None, Hosts]:
    """sandbox-1 is the primary on eu-1, sandbox-2 its replica on eu-2; each goes down when its turn comes."""
    hosts, gate = Hosts({}), AnyGate()
    gate.held = {"sandbox-1": await holding(primary), "sandbox-2": await holding(replica)}
    results, _ = await rolled(base, hosts, gate, *changes)
    return next((each.error for each in results if each.error), None), hosts


@pytest.mark.parametrize("replica", [0, 12, 449])
async def test_the_primary_stays_up_until_its_replica_is_filled(base: Path, replica: int) -> None:
    error, hosts = await upgraded(base, 500, replica)
    assert error is not None and error.code == "replicas-behind"
    assert f"sandbox-2 holds {replica} of 500 tags of sandbox-1" in error.why
    assert error.next == "run towpath replicate everywhere, then the same command again"
    assert "towpath-sandbox-1.service" not in hosts.restarted()


@pytest.mark.parametrize(("primary", "replica"), [(500, 450), (500, 500), (0, 0), (1, 1)])
async def test_a_replica_that_holds_nearly_all_will_do(base: Path, primary: int, replica: int) -> None:
    error, hosts = await upgraded(base, primary, replica)
    assert error is None and "towpath-sandbox-1.service" in hosts.restarted()


async def test_a_replica_restarts_only_while_its_primary_is_no_empty_one(base: Path) -> None:
    hosts, gate, said = Hosts({}), AnyGate(), list[str]()
    gate.held = {"sandbox-1": await holding(0), "sandbox-2": await holding(500)}
    results, _ = await rolled(base, hosts, gate, said=said)
    assert outcomes(results) == {"eu-1": Outcome.DONE, "eu-2": Outcome.FAILED}, "nothing is lost by the empty one"
    assert hosts.restarted() == ["towpath-sandbox-1.service"]
    error = results[1].error
    assert error is not None and "sandbox-1 holds 0 of 500 tags of sandbox-2" in error.why
    assert "towpath replicate everywhere --from sandbox-2" in error.next


async def test_what_a_primary_deleted_and_its_replica_keeps_is_not_asked_of_it(base: Path) -> None:
    """``deletes: never``: such a replica may hold any number of tags that its primary gave up."""
    assert (await upgraded(base, 12, 500, NEVER))[0] is None
    error, _ = await upgraded(base, 0, 500, NEVER)
    assert error is not None and error.code == "replicas-behind"
    error, _ = await upgraded(base, 12, 500)
    assert error is not None and "sandbox-1 holds 12 of 500 tags of sandbox-2" in error.why


async def test_nor_of_another_replica(base: Path) -> None:
    topology = deployed.topology(base, HOST_THREE, THREE, TO_THREE)
    gate, names = AnyGate(), ("sandbox-1", "sandbox-2", "sandbox-3")
    gate.held = {"sandbox-1": await holding(10), "sandbox-2": await holding(500), "sandbox-3": await holding(10)}
    urls = {name: name for name in names}
    copies = await copies_of(cast(Gate, gate), topology, "sandbox-2", urls, float("inf"))
    assert [(each.sister, each.enough, each.held, each.wanted) for each in copies] == [
        ("sandbox-1", True, 10, 500),
        ("sandbox-3", True, 10, 10),
    ]
    gate.held["sandbox-3"] = await holding(5)
    copies = await copies_of(cast(Gate, gate), topology, "sandbox-2", urls, float("inf"))
    assert [each.enough for each in copies] == [True, False]


@pytest.mark.parametrize("change", [FILTERED, UNFED])
async def test_a_replica_that_nothing_fills_whole_is_not_compared(base: Path, change: tuple[str, str]) -> None:
    hosts, gate, said = Hosts({}), AnyGate(), list[str]()
    gate.held = {"sandbox-1": await holding(500)}
    results, _ = await rolled(base, hosts, gate, change, said=said)
    assert set(outcomes(results).values()) == {Outcome.DONE}
    assert "eu-1: sandbox-2 was not compared with sandbox-1: no replication without a filter fills it" in said


async def test_what_was_pushed_just_now_is_not_asked_of_a_replica(base: Path) -> None:
    """An upgrade goes on while clients push, also where nobody replicates meanwhile."""
    hosts, gate = Hosts({}), AnyGate()
    gate.held = {"sandbox-1": await holding(10, fresh=90), "sandbox-2": await holding(10)}
    results, _ = await rolled(base, hosts, gate)
    assert set(outcomes(results).values()) == {Outcome.DONE}
    gate.held["sandbox-1"] = await holding(100, pushed=time.time() - 2 * replicas.FRESH_SECONDS)
    results, _ = await rolled(base, hosts, gate)
    assert results[0].error is not None and "sandbox-2 holds 10 of 100 tags" in results[0].error.why


class Unread(AnyGate):
    """``url`` answers as ready, and then nothing but ``error``."""

    def __init__(self, url: str, error: Exception) -> None:
        super().__init__()
        self.url, self.error = url, error

    @asynccontextmanager
    async def registry(self, url: str) -> AsyncIterator[MemoryRegistry]:
        async with super().registry(url) as found:
            if url == self.url:
                self._break(found)
            yield found

    def _break(self, found: MemoryRegistry) -> None:
        async def fails(*_: Any, **__: Any) -> Any:
            if isinstance(self.error, TimeoutError):
                await asyncio.sleep(60)
            raise self.error

        found.tag_states = fails  # type: ignore[method-assign]


@pytest.mark.parametrize("error", [Unreachable("nobody answers"), TimeoutError()])
@pytest.mark.parametrize("url", ["sandbox-1", "sandbox-2"])
async def test_one_that_cannot_be_read_counts_as_ready_and_is_named(
    base: Path, url: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "READ_SECONDS", 0.05)
    gate, said, hosts = Unread(url, error), list[str](), Hosts({})
    gate.held = {"sandbox-1": await holding(10), "sandbox-2": await holding(10)}
    results, _ = await rolled(base, hosts, gate, said=said)
    assert set(outcomes(results).values()) == {Outcome.DONE}
    assert any(line.startswith("eu-1: sandbox-2 was not compared with sandbox-1: ") for line in said)


async def test_a_replica_that_catches_up_in_time_is_waited_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, filled = AnyGate(), await holding(500)
    gate.held = {"sandbox-1": await holding(500), "sandbox-2": await holding(12)}
    polls: list[float] = []

    async def replicated(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 3:
            gate.held["sandbox-2"] = filled

    monkeypatch.setattr(rolling.asyncio, "sleep", replicated)
    hosts = Hosts({})
    results, _ = await rolled(base, hosts, gate, patience=1000.0)
    assert set(outcomes(results).values()) == {Outcome.DONE} and len(polls) == 3


async def test_a_large_node_is_looked_at_in_part(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "_MOST_REPOSITORIES", 4)
    monkeypatch.setattr(replicas, "_MOST_TAGS", 2)
    gate = AnyGate()
    for name, repositories in (("sandbox-1", range(10)), ("sandbox-2", range(5))):
        gate.held[name] = MemoryRegistry()
        for number in repositories:
            await push(gate.held[name], f"apps/r{number}", b"layer", tags=["a", "b", "c", "d"])
    urls = {"sandbox-1": "sandbox-1", "sandbox-2": "sandbox-2"}
    (copy,) = await copies_of(cast(Gate, gate), deployed.topology(base), "sandbox-1", urls, float("inf"))
    assert (copy.held, copy.wanted, copy.enough) == (4, 8, False), "r0, r3, r6, r9; two tags of each"


def tags(names: Sequence[str], word: str) -> list[str]:
    return [f"{name}-{word}" for name in names]


async def test_real_nodes_are_compared_over_pages(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, names = Gate(SECRETS["towpath-engine"]), [f"v{number:03}" for number in range(30)]
    with running(tmp_path / "a", scope="sandbox") as first, running(tmp_path / "b", scope="sandbox") as second:
        urls = {"sandbox-1": first.url, "sandbox-2": second.url}
        async with gate.registry(first.url) as own, gate.registry(second.url) as sister:
            await push(own, "apps/api", b"layer", tags=names)
            await push(sister, "apps/api", b"layer", tags=[*tags(names, "old"), *names[:20]])
            monkeypatch.setattr(replicas, "_MOST_TAGS", 30)
            (copy,) = await copies_of(gate, deployed.topology(base), "sandbox-1", urls, float("inf"))
            assert (copy.held, copy.wanted, copy.enough) == (20, 30, False)
            await push(sister, "apps/api", b"layer", tags=names[20:28])
            (copy,) = await copies_of(gate, deployed.topology(base), "sandbox-1", urls, float("inf"))
            assert (copy.held, copy.wanted, copy.enough) == (28, 30, True)


async def test_a_node_that_only_takes_new_settings_asks_nobody(base: Path) -> None:
    hosts, gate = Hosts({}), AnyGate()
    gate.held = {"sandbox-1": await holding(500)}
    results = await test_proxy.rolled(base, hosts, gate, [], [("[pull, push, delete]", "[pull, push]")])
    assert set(outcomes(results).values()) == {Outcome.DONE}
    assert not [each for each in hosts.restarted() if "sandbox" in each] and {"sandbox-1", "sandbox-2"} <= set(
        gate.asked
    )
