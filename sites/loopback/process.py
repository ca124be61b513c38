"""Long-running processes known by a pid file: started, found again by a later command, stopped.

A pid alone proves nothing, since numbers are used again: the file also says when the process was born.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 0.1  # seconds: looking costs what the starting processes need


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    pid: int
    born: str

    @property
    def alive(self) -> bool:
        return birth(self.pid) == self.born


def birth(pid: int) -> str | None:
    """When a living process was born, in whatever words this system has; None when there is none (or a zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # proc(5): state is field 3, starttime field 22
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{_boot()}/{fields[19]}"
    words = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]  # systems without /proc
    shown = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words and a number
    state, _, started = shown.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def recorded(pid_file: Path) -> ProcessRecord | None:
    """Whom a pid file names, alive or not; None without a readable one."""
    try:
        found = json.loads(pid_file.read_bytes())
        return ProcessRecord(int(found["pid"]), str(found["born"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def start(command: Sequence[str], *, log: Path, pid_file: Path, environment: dict[str, str] | None = None) -> None:
    """Starts the command in a session of its own, so that a terminal's Ctrl-C reaches the starter alone, which then
    stops it in good order. Its output is appended to ``log``."""
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - the command is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=None if environment is None else {**os.environ, **environment},
        )
    child.returncode = 0  # not ours to wait for: the pid file is how it is found, also by this process
    note(pid_file, child.pid)


def note(pid_file: Path, pid: int) -> None:
    pid_file.write_text(json.dumps({"pid": pid, "born": birth(pid) or "gone"}))


async def stop(pid_file: Path, *, grace: float) -> bool:
    """SIGTERM, then SIGKILL after ``grace`` seconds. False when nothing was running. The pid file goes."""
    found = recorded(pid_file)
    if found is None or not found.alive:
        forget(pid_file)
        return False
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.kill(found.pid, number)
        if await _gone(found, patience):
            break
    forget(pid_file)
    return True


def forget(pid_file: Path) -> None:
    pid_file.unlink(missing_ok=True)


async def _gone(process: ProcessRecord, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while process.alive:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
