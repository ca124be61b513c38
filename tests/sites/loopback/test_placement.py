"""The secrets that a deployment makes for its own nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.loopback.placement import robot_token
from sites.state import StateFolder


@pytest.mark.parametrize("left", ["", "\n", "towpath-front-robot:", "no robot's"])
def test_a_robot_is_never_given_an_empty_secret(tmp_path: Path, left: str) -> None:
    """As a file that was cut, or read back from a host where it was, would give it."""
    state = StateFolder(tmp_path)
    state.robot("front").parent.mkdir(parents=True)
    state.robot("front").write_text(left)
    made = robot_token(state, "front")
    assert len(made) >= 32 and robot_token(state, "front") == made
