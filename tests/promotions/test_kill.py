"""A promotion killed with SIGKILL at every state, and in the windows between effect and record, then run again.

The states enumerate themselves: a new one without a scenario here fails ``test_every_point_has_a_scenario``."""

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oci_wire.client import RemoteRegistry
from oci_wire.closure import report
from oci_wire.manifest import Manifest
from promotions import failpoints
from promotions.ledger import Ledger
from promotions.registries import Address, RemoteRegistries
from promotions.sign import sign
from promotions.states import PATH
from promotions.transfer import current
from tests.nodes import SECRETS, RunningNode
from tests.promotions import runner
from tests.promotions.world import CALL, index, key, topology

pytestmark = pytest.mark.slow
PROCESSES = multiprocessing.get_context("forkserver")  # imports once; each engine is a process that can be killed
PROCESSES.set_forkserver_preload(["tests.promotions.runner"])


@dataclass
class Stage:
    """Two real nodes and a folder for engines; ``ask`` runs one engine in a process of its own."""

    folder: Path
    nodes: dict[str, RunningNode]
    registries: RemoteRegistries

    def ask(self, failpoint: str = "", **asked: Any) -> dict[str, Any] | None:
        """The outcome; None when the process was killed, as it must be exactly when a failpoint was given."""
        addresses = {name: node.url for name, node in self.nodes.items()}
        request = {"folder": str(self.folder), "addresses": addresses, "reference": "1.0", **asked}
        answer = self.folder / f"answer-{os.urandom(4).hex()}"
        process = PROCESSES.Process(target=runner.main, args=(request, failpoint, str(answer)))
        process.start()
        process.join(60)
        if failpoint:
            assert process.exitcode == -signal.SIGKILL and not answer.exists()
            return None
        assert process.exitcode == 0
        return dict(json.loads(answer.read_text()))

    async def push(self, *, salt: str = "1", signed: bool = True) -> Manifest:
        source = self.registries.place("ci-pool-eu", "apps/api")
        made = await index(source, "1.0", salt=salt)
        if signed:
            await self.sign(made)
        return made

    async def sign(self, made: Manifest) -> None:
        await sign(self.registries.place("ci-pool-eu", "apps/api"), CALL, made.digest, key("release"))

    async def shown(self, tag: str) -> str | None:
        return await current(self.registries.place("prod-eu", "apps/api"), CALL, tag)

    async def look(self, made: Manifest, before: str | None = None) -> None:
        """After a crash: both tags old or both new, and what they show is whole."""
        shown = {await self.shown(tag) for tag in ("1.0", "stable")}
        assert shown in ({before}, {str(made.digest)}), shown
        if before is None and shown == {None}:
            return
        prod = self.registries.place("prod-eu", "apps/api")
        for digest in shown:
            assert digest is not None
            found = await report(prod.registry, CALL, prod.repository, type(made.digest).parse(digest), rehash=True)
            assert found.complete, found.missing

    async def finished(self, made: Manifest, outcome: dict[str, Any] | None) -> None:
        """Promoted, whole, and in the ledger exactly once."""
        assert outcome is not None and outcome["ending"] in ("done", "nothing-to-do"), outcome
        await self.look(made)
        assert await self.shown("stable") == str(made.digest)
        ledger = Ledger.of_scope(self.folder / "engine" / "ledger", "prod")
        assert ledger.verify().whole
        records = [each for each in ledger.records() if each.kind == "promotion"]
        assert [each.body["digest"] for each in records] == [str(made.digest)]
        prod = self.registries.place("prod-eu", "apps/api")
        referrers = await prod.registry.referrers(CALL, prod.repository, made.digest)
        assert len(referrers.items) == 1  # our evidence, never twice


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningNode]]:
    folder = tmp_path_factory.mktemp("nodes")
    with ExitStack() as stack:
        nodes = {}
        for name, scope in (("ci-pool-eu", "ci-pool"), ("prod-eu", "prod")):
            nodes[name] = RunningNode(folder / name, node=name, scope=scope)
            nodes[name].start()
            stack.callback(nodes[name].stop)
        yield nodes


@pytest.fixture
async def stage(running: dict[str, RunningNode], tmp_path: Path) -> AsyncIterator[Stage]:
    engine = ("towpath-engine", SECRETS["towpath-engine"])
    addresses = {name: Address(node.url, *engine) for name, node in running.items()}
    async with RemoteRegistries(topology(tmp_path), addresses) as registries:
        yield Stage(tmp_path, running, registries)
        for name in running:
            await _empty(registries.of(name))


async def _empty(registry: RemoteRegistry) -> None:
    """The next scenario starts with nothing shown."""
    for tag in (await registry.tags(CALL, "apps/api")).items:
        await registry.delete_tag(CALL, "apps/api", tag)


async def on_the_way(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point)
    stage.ask(point)
    await stage.look(made)
    await stage.finished(made, stage.ask())


async def when_refused(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point, signed=False)
    stage.ask(point)
    await stage.look(made)
    again = stage.ask()
    assert again is not None and again["code"] == "GATE_REFUSED"
    await stage.sign(made)
    await stage.finished(made, stage.ask())


async def when_it_fails(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point)
    secret = stage.folder / "towpath.key"
    secret.rename(stage.folder / "elsewhere")
    stage.ask(point)
    await stage.look(made)
    (stage.folder / "elsewhere").rename(secret)
    await stage.finished(made, stage.ask())


async def when_the_target_is_away(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point)
    stage.ask(failpoints.State.GATING.value)  # pinned, while the target answers
    stage.nodes["prod-eu"].stop()
    try:
        stage.ask(point)
    finally:
        stage.nodes["prod-eu"].start()
    await stage.look(made)
    await stage.finished(made, stage.ask())


async def when_aborted(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point)
    waiting = stage.ask(frozen=True)
    assert waiting is not None and waiting["ending"] == "waiting"
    stage.ask(point, abort=waiting["promotion"])
    await stage.look(made)
    await stage.finished(made, stage.ask())


async def when_superseded(stage: Stage, point: str) -> None:
    await stage.push(salt="older")
    waiting = stage.ask(frozen=True)
    assert waiting is not None and waiting["ending"] == "waiting"
    made = await stage.push(salt=point)
    stage.ask(point)
    await stage.look(made)
    await stage.finished(made, stage.ask())


async def when_it_waited_too_long(stage: Stage, point: str) -> None:
    made = await stage.push(salt=point)
    stage.ask(frozen=True)
    stage.ask(point, patience=0.0)
    await stage.look(made)
    await stage.finished(made, stage.ask())


Scenario = Callable[[Stage, str], Any]
SCENARIOS: dict[str, Scenario] = {
    **{state.value: on_the_way for state in PATH},
    **{window.value: on_the_way for window in failpoints.Window},
    "REJECTED": when_refused,
    "FAILED": when_it_fails,
    "ERRORED": when_the_target_is_away,
    "ABORTED": when_aborted,
    "SUPERSEDED": when_superseded,
    "EXPIRED": when_it_waited_too_long,
}


def test_every_point_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(failpoints.NAMES)


@pytest.mark.parametrize("point", failpoints.NAMES)
async def test_killed_then_run_again(stage: Stage, point: str) -> None:
    await SCENARIOS[point](stage, point)


async def test_two_engines_at_once_are_one_promotion(stage: Stage) -> None:
    made = await stage.push(salt="twice")
    outcomes = await asyncio.gather(*(asyncio.to_thread(stage.ask) for _ in range(3)))
    assert len({each["promotion"] for each in outcomes if each}) == 1
    await stage.finished(made, outcomes[0])
