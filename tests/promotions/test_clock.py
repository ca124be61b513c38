"""The clock: what came due while nobody looked runs once, and each run is remembered."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from promotions.clock import Clock, Job
from promotions.store import Store

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(tmp_path)
    yield made
    made.close()


def counting(
    name: str = "count", *, fails: bool = False, every: timedelta = HOUR
) -> tuple[Job, asyncio.Event, list[int]]:
    runs, ran = list[int](), asyncio.Event()

    async def run() -> str:
        runs.append(1)
        ran.set()
        if fails:
            raise ValueError("no")
        return "removed 3"

    return Job(name, run, every=every), ran, runs


async def spin(clock: Clock, until: asyncio.Event | None) -> None:
    """Runs the clock until something happened, and what it wrote is there."""
    stop = asyncio.Event()
    task = asyncio.create_task(clock.run(stop, tick=0.01))
    if until is not None:
        await asyncio.wait_for(until.wait(), 20)
        await asyncio.gather(*clock._running.values())
    else:
        await asyncio.sleep(0.2)
    stop.set()
    await task


async def test_a_new_job_waits_for_its_time(store: Store) -> None:
    job, _, runs = counting()
    clock = Clock(store, [job])
    await spin(clock, None)
    standing = (await clock.standing())[0]
    assert runs == [] and standing.last_run is None
    assert 3500 < standing.next_run - store.clock() <= 3600


async def test_what_came_due_meanwhile_runs_once(store: Store) -> None:
    job, ran, runs = counting()
    await spin(Clock(store, [job]), None)
    now = store.clock
    store.clock = lambda: now() + 5 * 3600  # five hours later: five times due
    clock = Clock(store, [job])
    # schedule reads the wall clock; the store's is ahead of it, so the due time is put back to now
    await clock._write((await clock.standing())[0].__class__("count", None, now() - 1, None))
    await spin(clock, ran)
    await spin(clock, None)
    standing = (await clock.standing())[0]
    assert runs == [1] and standing.outcome == "removed 3" and standing.last_run is not None
    assert standing.next_run > standing.last_run


async def test_a_job_that_fails_says_so_and_runs_again(store: Store) -> None:
    job, ran, _ = counting(fails=True, every=timedelta(seconds=1))
    clock = Clock(store, [job])
    await spin(clock, ran)
    assert (await clock.standing())[0].outcome == "failed: no"


async def test_a_long_run_is_not_started_twice(store: Store) -> None:
    started, go = list[int](), asyncio.Event()
    begun = asyncio.Event()

    async def long() -> str:
        started.append(1)
        begun.set()
        await go.wait()
        return ""

    clock = Clock(store, [Job("long", long, every=timedelta(milliseconds=20))])
    stop = asyncio.Event()
    task = asyncio.create_task(clock.run(stop, tick=0.01))
    await asyncio.wait_for(begun.wait(), 20)
    await asyncio.sleep(0.1)
    assert started == [1]
    stop.set()
    await task  # cancels what still runs


def test_cron_is_read_in_its_time_zone() -> None:
    async def run() -> str:
        return ""

    job = Job("nightly", run, cron="0 3 * * *", timezone="Europe/Berlin")
    moment = datetime(2026, 11, 23, 0, 0, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(job.after(moment), UTC) == datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
