"""The clock: what runs by itself, and when. The only importer of ``schedule``.

``schedule`` keeps time in memory; when each job last ran and is next due stands in the store, so that a restart
neither skips a run nor repeats one: what came due meanwhile runs once, at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import schedule
from cronsim import CronSim
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from promotions.schema import CLOCK
from promotions.store import Store

LOG = logging.getLogger("towpath.clock")


@dataclass(frozen=True, slots=True)
class Job:
    """Runs ``every`` so often, or when its ``cron`` line comes due in its time zone. ``run`` answers what it did."""

    name: str
    run: Callable[[], Awaitable[str]]
    every: timedelta | None = None
    cron: str | None = None
    timezone: str = "UTC"

    def after(self, moment: float) -> float:
        """When it is next due after a moment; both in seconds since the epoch."""
        if self.every is not None:
            return moment + self.every.total_seconds()
        assert self.cron is not None
        return next(CronSim(self.cron, datetime.fromtimestamp(moment, ZoneInfo(self.timezone)))).timestamp()


@dataclass(frozen=True, slots=True)
class Run:
    """How a job stands: times in seconds since the epoch."""

    job: str
    last_run: float | None
    next_run: float
    outcome: str | None


@dataclass(slots=True)
class Clock:
    """Runs jobs when they are due, each by itself and never twice at once, until it is told to stop."""

    store: Store
    jobs: Sequence[Job]
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event, tick: float = 0.5) -> None:
        """``tick``: seconds between looks at the clock."""
        scheduler = schedule.Scheduler()
        for job in self.jobs:
            await self._register(scheduler, job)
        while not stop.is_set():
            scheduler.run_pending()
            await _sleep(stop, tick)
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def standing(self) -> list[Run]:
        """Every job that ever was scheduled, by name."""
        query = select(CLOCK).order_by(CLOCK.c.job)
        rows = await self.store.read(lambda tx: tx.execute(query).all())
        return [Run(*each) for each in rows]

    async def _register(self, scheduler: schedule.Scheduler, job: Job) -> None:
        known = {each.job: each for each in await self.standing()}.get(job.name)
        due = min(known.next_run, job.after(self.store.clock())) if known else job.after(self.store.clock())
        await self._write(Run(job.name, known.last_run if known else None, due, known.outcome if known else None))
        entry = scheduler.every(1).seconds
        entry.do(lambda: self._start(entry, job))
        entry.next_run = datetime.fromtimestamp(due)

    def _start(self, entry: schedule.Job, job: Job) -> None:
        running = self._running.get(job.name)
        if running is None or running.done():
            self._running[job.name] = asyncio.create_task(self._perform(job, entry))

    async def _perform(self, job: Job, entry: schedule.Job) -> None:
        """``next_run`` is set when the work is over: a run that takes longer than its interval delays the next."""
        started = self.store.clock()
        entry.next_run = datetime.max
        try:
            outcome = await job.run()
        except Exception as error:
            LOG.exception("job %s failed", job.name)
            outcome = f"failed: {error}"
        due = job.after(self.store.clock())
        await self._write(Run(job.name, started, due, outcome))
        entry.next_run = datetime.fromtimestamp(due)

    async def _write(self, run: Run) -> None:
        values = {"last_run": run.last_run, "next_run": run.next_run, "outcome": run.outcome}
        query = insert(CLOCK).values(job=run.job, **values)
        query = query.on_conflict_do_update(index_elements=["job"], set_=values)
        await self.store.write(lambda tx: tx.execute(query))


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
