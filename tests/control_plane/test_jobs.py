"""What runs by itself: the queue of promotions, and what a schedule says it did."""

import logging
from pathlib import Path

import pytest

from control_plane.jobs import QUEUE_SECONDS, jobs_of
from promotions.cleanup import Cleaner
from promotions.clock import Job
from promotions.outcome import Ending
from promotions.queue import Queue
from promotions.replicate import Replicator
from promotions.states import State
from tests.promotions.world import World

FREEZE = {"name": "night", "edges": ["to-prod"], "cron": "0 0 * * *", "for": "2h", "reason": "nobody on call"}
MIDNIGHT = 1_900_022_400.0  # 2030-03-17 00:00 UTC


def jobs(world: World) -> dict[str, Job]:
    parts = (world.topology, world.nodes, world.store, world.ledgers)
    made = jobs_of(world.topology, Queue(world.engine()), Replicator(*parts), Cleaner(*parts))
    return {each.name: each for each in made}


def at(world: World, moment: float) -> None:
    world.now = world.store.clock = lambda: moment


async def test_a_promotion_goes_on_by_itself_when_a_freeze_has_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, lambda document: document.update(freezes=[FREEZE]))
    at(world, MIDNIGHT + 60)
    made = await world.signed_image()
    waiting = await world.promote()
    assert (waiting.ending, waiting.state) == (Ending.WAITING, State.WAITING)
    job = jobs(world)["promotions"]
    assert job.every is not None and job.every.total_seconds() == QUEUE_SECONDS
    assert await job.run() == "nothing waits"  # it has just been looked at
    at(world, MIDNIGHT + 3600)
    assert await job.run() == "1 waiting"
    assert await world.shown("prod", "1.0") is None
    at(world, MIDNIGHT + 2 * 3600 + 60)
    with caplog.at_level(logging.INFO, "towpath.control"):
        assert await job.run() == "1 done"
    assert await world.shown("prod", "1.0") == str(made.digest)
    assert f"promotion {waiting.promotion} of apps/api over to-prod: done" in caplog.text
    world.store.close()


async def test_what_a_cleanup_does_not_do_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path, lambda document: document["scopes"]["sandbox"]["cleanup"].update(untaggedAfter="1d"))
    with caplog.at_level(logging.INFO, "towpath.control"):
        assert await jobs(world)["cleanup sandbox"].run() == "0 tags removed of 0"
    assert "untaggedAfter is not built yet" in caplog.text
    world.store.close()
