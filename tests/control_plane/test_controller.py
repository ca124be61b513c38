"""The controller's parts: which jobs a topology asks for, and that the loss of a part is not hidden."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.controller import Controller
from control_plane.jobs import jobs_of
from promotions.cleanup import Cleaner
from promotions.clock import Clock, Job
from promotions.queue import Queue
from promotions.replicate import Replicator
from tests.promotions.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def replicator(world: World) -> Replicator:
    return Replicator(world.topology, world.nodes, world.store, world.ledgers)


def jobs(world: World) -> dict[str, Job]:
    cleaner = Cleaner(world.topology, world.nodes, world.store, world.ledgers)
    return {each.name: each for each in jobs_of(world.topology, Queue(world.engine()), replicator(world), cleaner)}


def test_a_job_for_every_schedule_that_is_declared(world: World) -> None:
    found = jobs(world)
    assert set(found) == {"promotions", "reconcile everywhere", "cleanup sandbox"}
    assert found["reconcile everywhere"].every == timedelta(minutes=1)
    assert found["cleanup sandbox"].every == timedelta(hours=6)


async def test_reconciling_brings_what_no_event_told_of(world: World) -> None:
    await world.signed_image()
    await world.promote()
    assert await world.shown("prod-us", "1.0") is None
    assert await jobs(world)["reconcile everywhere"].run() == "1 repositories whole"
    assert await world.shown("prod-us", "1.0") == await world.shown("prod", "1.0")


async def test_a_cleanup_says_how_much_it_removed(world: World) -> None:
    assert await jobs(world)["cleanup sandbox"].run() == "0 tags removed of 0"


async def test_the_controller_replicates_by_event_and_ends_when_told(world: World) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    controller = Controller(world.topology, replicator(world), Clock(world.store, []), ready.set)
    running = asyncio.create_task(controller.run(stop))
    await ready.wait()
    await world.signed_image()
    await world.promote()
    async with asyncio.timeout(30):
        while await world.shown("prod-us", "1.0") is None:
            await asyncio.sleep(0.01)
        stop.set()
        await running


async def test_a_controller_that_loses_a_part_ends_with_its_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(clock: Clock, stop: asyncio.Event) -> None:
        raise OSError("no more disk")

    monkeypatch.setattr(Clock, "run", broken)
    controller = Controller(world.topology, replicator(world), Clock(world.store, []), lambda: None)
    with pytest.raises(OSError, match="no more disk"):
        await controller.run(asyncio.Event())
