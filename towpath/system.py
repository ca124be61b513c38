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
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where


def serve(
    *,
    settings: Annotated[Path, Parameter(help="The node's settings file (JSON).")],
    options: Options = PLAIN,
) -> Exit:
    """Run one registry node in the foreground until it is told to stop (SIGTERM drains)."""
    del options
    from registry_node import settings as node_settings
    from registry_node.server import run

    try:
        loaded = node_settings.load(settings)
    except node_settings.SettingsInvalid as error:
        raise Problem(
            "settings-invalid", str(error), next="correct the file, or let `towpath up` render it", exit=Exit.USAGE
        ) from None
    run(loaded, settings)
    return Exit.DONE


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
        await Controller(workspace.topology, parts.replicator, clock, ready).run(stop)
    return Exit.DONE
