"""The trash of a host: what nodes that were removed left there, until when it is kept, what has to go. Pure.

A term is over when both clocks say so, ours and the host's: one that jumped ahead throws nothing away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sites.desired import layout
from sites.desired.inventory import Target
from sites.desired.protection import TRASH_TERM
from sites.planning.actions import Action
from sites.planning.facts import HostFacts, RecordedNode
from sites.planning.host_plan import DESTROY, KEPT, HostPlan, Row
from sites.planning.removal_actions import Discard, Empty

_LONGEST = timedelta(days=36_525)  # as long as any duration of a topology (topology/values.py)
_DISCARDED = re.compile(r"([a-z0-9-]{1,63})-[0-9]{8}T[0-9]{6}Z")
_STAMP = "%Y%m%dT%H%M%SZ"
_LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def discarded(node: str, now: datetime) -> str:
    """What a node's data is called in the trash."""
    return f"{node}-{now.astimezone(UTC).strftime(_STAMP)}"


def node_of(name: str) -> str:
    """Whose data it is; "" of what no apply put there."""
    found = _DISCARDED.fullmatch(name)
    return found[1] if found else ""


def term(told: RecordedNode) -> timedelta:
    """How long the data of a node is kept: as its host's inventory says, within what a topology can say."""
    seconds = told.trash_seconds
    if seconds is None or math.isnan(seconds):
        return TRASH_TERM
    return timedelta(seconds=min(max(0.0, seconds), _LONGEST.total_seconds()))


def in_trash(facts: HostFacts) -> dict[str, float]:
    """What an apply put there, and the end of its term (seconds since the epoch). What says no end is left to people."""
    ends = {name: _until(note) for name, note in sorted(facts.earlier.trash.items()) if node_of(name)}
    return {name: until for name, until in ends.items() if until is not None}


def over(facts: HostFacts, now: datetime) -> dict[str, float]:
    """Of that, what has to go."""
    clock = min(now.timestamp(), facts.time)
    return {name: until for name, until in in_trash(facts).items() if until <= clock}


def emptied(target: Target, facts: HostFacts, now: datetime) -> Iterator[tuple[Action, Row]]:
    """An action and its row for each thing that has to go."""
    for name, until in over(facts, now).items():
        action = Empty(str(layout.TRASH / name))
        yield action, _row(target, DESTROY, f"{name}: its term ended on {_day(until)}", action.command)


def kept(facts: HostFacts, now: datetime) -> dict[str, float]:
    """And what stays."""
    going = over(facts, now)
    return {name: until for name, until in in_trash(facts).items() if name not in going}


def kept_rows(target: Target, ends: Mapping[str, float]) -> Iterator[Row]:
    """A row for each thing that stays, of a host that nothing else would be said of."""
    for name, until in ends.items():
        yield _row(target, KEPT, f"{name}: kept until {_day(until)}, an apply after that removes it")


def remaining(plan: HostPlan, *, done: bool) -> dict[str, float]:
    """What the trash holds when the plan has been carried out (``done``), or has not."""
    there = in_trash(plan.facts)
    if not done:
        return there
    gone = {each.path for each in plan.finish if isinstance(each, Empty)}
    actions = [each for node in (plan.removal.leaving if plan.removal else ()) for each in node.actions]
    came = {each.target.rpartition("/")[2]: each.until for each in actions if isinstance(each, Discard)}
    return {name: until for name, until in {**there, **came}.items() if str(layout.TRASH / name) not in gone}


def _until(note: Any) -> float | None:
    """Within what calendars hold: a note may have been edited."""
    until = note.get("until") if isinstance(note, dict) else None
    if isinstance(until, bool) or not isinstance(until, int | float) or math.isnan(until):
        return None
    return float(min(max(0, until), _LAST))


def _day(until: float) -> str:
    return datetime.fromtimestamp(min(until, _LAST), UTC).date().isoformat()


def _row(target: Target, sign: str, change: str, *commands: str) -> Row:
    return Row(target.site, target.name, "", sign, "trash", change, ("sites", target.site), commands)
