"""A node on trial: from before its first change until it has passed its health gate.

What a host keeps of it, drawn once (``keep`` and ``restore`` of on_host/change.py):

quiet          no mark. The files there are the last that passed the gate, or there are none
   | begin     what the change replaces is copied; then the mark is put; then the change
on trial       the mark stands, whatever is interrupted. What was copied is what there is to go back to; another change
   |           adds copies of what the first did not touch, and replaces none
   | settle    the gate was passed: the mark goes
   | way back  the gate was not passed: the copies are put back, and then the mark goes. A node that never passed one is
   |           stopped, and its mark stays
quiet
"""

from __future__ import annotations

from collections.abc import Sequence

from sites.desired import layout
from sites.desired.files import File
from sites.planning.actions import Action, Keep, PutFile, Remove, Restore
from sites.planning.facts import HostFacts

_PENDING = b"the node has not passed its health gate on the files here: the next apply restarts it\n"
_PENDING_FIRST = _PENDING + b"nothing was here before them\n"


def mark(node: str, *, first: bool) -> File:
    """``first``: it never passed a gate here, so that there is nothing to go back to."""
    return File(str(layout.pending(node)), _PENDING_FIRST if first else _PENDING)


def begin(node: str, replaced: Sequence[str], *, pending: bool, first: bool) -> tuple[Action, ...]:
    """Before anything of the node is changed. ``pending``: the mark stands already, and keeps what it says."""
    keep = Keep(str(layout.former(node)), tuple(replaced), str(layout.pending(node)))
    return (keep,) if pending else (keep, PutFile(mark(node, first=first)))


def settle(node: str) -> tuple[Action, ...]:
    return (Remove(str(layout.pending(node))),)


def put_back(node: str) -> Action:
    return Restore(str(layout.former(node)), str(layout.pending(node)))


def never_passed(node: str, facts: HostFacts) -> bool:
    """Whether the node has no state here that passed its gate."""
    stands = facts.paths.get(str(layout.pending(node)))
    if stands is not None and stands.sha256 == mark(node, first=True).sha256:
        return True
    return any(facts.paths.get(str(each)) is None for each in (layout.unit_file(node), layout.release_of(node)))
