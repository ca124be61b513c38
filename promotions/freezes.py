"""Times in which nothing crosses an edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from topology.model import Freeze, Topology


def frozen_until(freeze: Freeze, now: float) -> float | None:
    """When the freeze that holds now ends (seconds since the epoch); None: none holds.

    It holds for its duration from each time that its cron line came due, in its own time zone."""
    zone = ZoneInfo(freeze.timezone)
    moment = datetime.fromtimestamp(now, UTC)
    latest = None
    for due in CronSim(freeze.cron, (moment - freeze.duration).astimezone(zone)):
        if due.astimezone(UTC) > moment:
            break
        latest = due
    if latest is None:
        return None
    ends = latest.astimezone(UTC) + freeze.duration
    return ends.timestamp() if ends > moment else None


def holding(topology: Topology, edge: str, now: float) -> tuple[str, ...]:
    """Why nothing crosses this edge now, in words; empty when it may."""
    reasons = []
    for freeze in topology.freezes:
        if edge in freeze.edges and (until := frozen_until(freeze, now)) is not None:
            shown = datetime.fromtimestamp(until, UTC) + timedelta(seconds=0.5)
            reasons.append(f"freeze {freeze.name} ({freeze.reason}) holds {edge} until {shown:%Y-%m-%d %H:%M} UTC")
    return tuple(reasons)
