"""The controller process of a deployment: started by ``up`` and stopped by ``down``, or run by ``control``."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sites.hosts import HostError
from sites.loopback import process
from sites.state import Runs
from towpath.workspace import Workspace

NAME = "controller"
START_PATIENCE = 60.0  # seconds
STOP_PATIENCE = 20.0  # seconds: it ends what it is copying, or leaves it to be resumed


async def start(workspace: Workspace) -> None:
    """Starts it anew, so that it knows the topology as it is now. Raises HostError when it does not come up."""
    state = workspace.state
    await stop(workspace)
    forget_ready(workspace)
    command = [sys.executable, "-P", "-m", "towpath", "control", *workspace.arguments()]
    process.start(command, log=state.control_log, pid_file=state.control_pid)
    deadline = time.monotonic() + START_PATIENCE
    while not is_ready(workspace):
        record = process.recorded(state.control_pid)
        if record is None or not record.alive or time.monotonic() > deadline:
            raise HostError(
                "controller-died",
                "the controller did not start",
                where=str(state.control_log),
                why=process.tail(state.control_log),
                next="correct what the log says, then towpath up again",
            )
        await asyncio.sleep(process.POLL)


async def stop(workspace: Workspace) -> list[str]:
    """Its name when it ran."""
    stopped = await process.stop(workspace.state.control_pid, grace=STOP_PATIENCE)
    return [NAME] if stopped else []


def runs(workspace: Workspace) -> bool:
    record = process.recorded(workspace.state.control_pid)
    return record is not None and record.alive


@contextmanager
def noted(workspace: Workspace) -> Iterator[None]:
    """While this process is the controller, other commands find it, whoever started it."""
    pid_file = workspace.state.control_pid
    if runs(workspace):  # noted by ``up``, which started it
        yield
        return
    process.note(pid_file, os.getpid())
    try:
        yield
    finally:
        forget_ready(workspace)
        process.forget(pid_file)


def started_by(workspace: Workspace) -> str:
    """The command that runs it, as a person types it."""
    return "towpath control" if workspace.state.runs is Runs.HOSTS else "towpath up"


def describe(workspace: Workspace) -> str:
    """One line: whether it runs."""
    record = process.recorded(workspace.state.control_pid)
    if record is None:
        return f"controller: stopped (no replication, no scheduled cleanup); {started_by(workspace)} starts it"
    if not record.alive:
        return f"controller: died; its log is {workspace.state.control_log}"
    return f"controller: running (process {record.pid})"


def mark_ready(workspace: Workspace) -> None:
    """Said by the controller itself once it follows events and the clock runs."""
    workspace.state.control_ready.touch()


def is_ready(workspace: Workspace) -> bool:
    return workspace.state.control_ready.exists()


def forget_ready(workspace: Workspace) -> None:
    workspace.state.control_ready.unlink(missing_ok=True)
