"""Verbs that run a process: ``serve`` (one node) and ``control`` (the controller)."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from towpath.exits import Exit
from towpath.node_process import run_node
from towpath.output import PLAIN, Options
from towpath.workspace import HERE, Where


def serve(
    *,
    settings: Annotated[Path, Parameter(help="The node's settings file (JSON).")],
    options: Options = PLAIN,
) -> Exit:
    """Run one registry node in the foreground until it is told to stop (SIGTERM drains)."""
    del options
    return run_node(settings)


async def control(*, where: Where = HERE, options: Options = PLAIN) -> Exit:
    """Run the controller in the foreground: follows events, reconciles, cleans up on schedule. SIGTERM ends it."""
    del options
    from control_plane.controller import Controller
    from control_plane.jobs import jobs_of
    from promotions.clock import Clock
    from promotions.queue import Queue
    from towpath import controller
    from towpath.engine import opened
    from towpath.not_acted_on import not_acted_on

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    workspace, stop, loop = where.open(), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with opened(workspace) as parts:
        clock = Clock(parts.store, jobs_of(workspace.topology, Queue(parts.engine), parts.replicator, parts.cleaner))
        for each in not_acted_on(workspace.topology):
            logging.getLogger("towpath.control").warning("declared, not acted on yet: %s", each)
        ready = partial(controller.mark_ready, workspace)
        with controller.noted(workspace):
            await Controller(workspace.topology, parts.replicator, clock, ready).run(stop)
    return Exit.DONE
