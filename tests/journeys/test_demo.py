"""``make demo`` as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.deployment import TOP, command_of, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


DEMO = [sys.executable, str(TOP / "scripts" / "demo")]


def surroundings(folder: Path, **settings: str) -> dict[str, str]:
    shift = str(free_port() - 5003 if free_port() < 60000 else 2000)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TOWPATH_", "KEEP", "IMAGE"))}
    return {**clean, "DEMO_FOLDER": str(folder), "PORT_SHIFT": shift, **settings}


def demo(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(DEMO, env=surroundings(folder, **settings), capture_output=True, text=True, check=False)


def begun(folder: Path) -> subprocess.Popen[str]:
    """In a process group of its own."""
    return subprocess.Popen(
        DEMO,
        env=surroundings(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_the_story_ends_well_and_leaves_nothing_running(tmp_path: Path) -> None:
    told = demo(tmp_path / "demo")
    assert told.returncode == 0, told.stdout + told.stderr
    assert re.fullmatch(
        r"demo: ok  ci-pool -> prod \(eu\) -> prod \(us\)  sha256:[0-9a-f]{64}", told.stdout.splitlines()[-1]
    )
    assert "no edge leads from sandbox to prod" in told.stdout
    assert running_from(tmp_path) == []


def test_a_demo_that_breaks_says_so_and_cleans_up(tmp_path: Path) -> None:
    told = demo(tmp_path / "demo", IMAGE="oci:/nowhere/at-all:1")
    assert told.returncode == 1
    assert "demo: FAILED" in told.stdout
    assert running_from(tmp_path) == []


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running_from(folder: Path) -> list[str]:
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and int(each.name) != os.getpid()]
    commands = [command_of(pid) for pid in pids]
    return [command for command in commands if str(folder) in command and "towpath" in command]


def test_a_demo_whose_ports_are_taken_says_how_to_move_them(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.1.1", 0))
        taken.listen()
        told = demo(tmp_path / "demo", PORT_SHIFT=str(taken.getsockname()[1] - 5002))
    assert told.returncode == 1
    assert "PORT_SHIFT=1000 make demo takes other ports" in told.stdout
    assert running_from(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_demo_that_is_ended_in_mid_start_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    """As ``timeout make demo`` does: the signal comes to the whole process group, and more than once."""
    story = begun(tmp_path / "demo")
    wait_until(lambda: len(running_from(tmp_path)) > 0)
    for _ in range(2):
        os.killpg(story.pid, number)
    said, _ = story.communicate(timeout=120)
    assert story.returncode == 130, said
    assert "demo: FAILED  interrupted" in said
    assert running_from(tmp_path) == []
