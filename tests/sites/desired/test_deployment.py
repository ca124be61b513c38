"""What makes a host unfit is told before anything is sent there, all of it at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sites.desired import layout
from sites.desired.deployment import unfit
from tests.sites import deployed

UNIT = layout.unit("sandbox-1")


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        ({}, []),
        ({"systemd": False, "python": "3.9"}, ["host-unfit", "host-unfit"]),
        ({"machine": "riscv64"}, ["host-unfit"]),
        ({"disk": {"total": 2**30, "free": 2**20}}, ["host-unfit"]),
        ({"time": time.time() + 3600}, ["host-unfit"]),
        ({"ports": {"5001": "nginx (process 12)"}}, ["port-in-use"]),
        ({"ports": {"5001": "python3 (process 7)"}, "units": {UNIT: {"ActiveState": "active", "MainPID": "7"}}}, []),
    ],
)
def test_a_host_must_be_fit(tmp_path: Path, changed: dict[str, Any], codes: list[str]) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    found = unfit(host, deployed.facts(**changed))
    assert [each.code for each in found] == codes
    assert all(each.next for each in found)


def test_a_full_disk_does_not_matter_to_a_host_that_has_the_release(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    host = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert unfit(host, deployed.facts(host, disk={"total": 2**30, "free": 0})) == []
