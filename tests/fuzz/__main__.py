"""``python -m tests.fuzz --target url --seconds 600 --seed 1``: exit status 1 when something was found."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.fuzz.campaign import SETTINGS, TARGETS, Campaign
from tests.nodes import running


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes a registry node of its own.")
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same inputs")
    given = parser.parse_args()
    names = list(TARGETS) if given.target == "all" else [given.target]
    return max([_fuzz(name, given.seconds, given.seed) for name in names])


def _fuzz(name: str, seconds: float, seed: int) -> int:
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        running(Path(folder), **SETTINGS) as node,
    ):
        campaign = Campaign(TARGETS[name], node, Random(seed))
        asyncio.run(_campaign(campaign, seconds))
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(campaign.statuses.items()))
    print(f"{name}: seed {seed}, {campaign.sent} inputs in {seconds:.0f} s, {len(campaign.found)} found, at most "
          f"{campaign.most_memory >> 20} MiB; answers {statuses}")  # fmt: skip
    for found in campaign.found[:50]:
        print(f"  {found.save()}: {found.what}", file=sys.stderr)
    return 1 if campaign.found else 0


async def _campaign(campaign: Campaign, seconds: float) -> None:
    await campaign.prepare()
    try:
        await campaign.run(seconds=seconds)
    except RuntimeError as error:  # the node ended: what was found until then is still told
        print(error, file=sys.stderr)


raise SystemExit(main())
