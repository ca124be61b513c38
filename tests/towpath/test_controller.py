"""A controller in the foreground is found by other commands, as one that ``up`` started is."""

from __future__ import annotations

import os
from pathlib import Path

from sites.loopback import process
from sites.state import Runs, StateFolder
from topology.load import load
from towpath import controller
from towpath.workspace import Workspace

TOP = Path(__file__).resolve().parent.parent.parent
FILE = TOP / "examples" / "quickstart" / "topology.yaml"


def workspace(folder: Path, runs: Runs) -> Workspace:
    loaded = load(FILE)
    assert loaded.topology is not None
    state = StateFolder(folder)
    state.claim(loaded.topology.metadata.name, FILE, runs)
    return Workspace(FILE, loaded, loaded.topology, state)


def test_it_is_found_while_it_runs(tmp_path: Path) -> None:
    here = workspace(tmp_path, Runs.HOSTS)
    assert "towpath control starts it" in controller.describe(here)
    with controller.noted(here):
        assert controller.runs(here)
        assert str(os.getpid()) in controller.describe(here)
    assert not controller.runs(here)
    assert not here.state.control_pid.exists()


def test_what_up_has_noted_is_left_to_it(tmp_path: Path) -> None:
    here = workspace(tmp_path, Runs.HERE)
    assert "towpath up starts it" in controller.describe(here)
    process.note(here.state.control_pid, os.getpid())
    with controller.noted(here):
        pass
    assert controller.runs(here)
