"""Which releases a host no longer needs. Pure.

Kept: what a node runs or will run, what it would go back to, and the newest of the others.
"""

from __future__ import annotations

import re

from sites.desired import layout
from sites.planning.actions import Keep
from sites.planning.facts import HostFacts
from sites.planning.host_plan import NodePlan
from sites.planning.removal_actions import Sweep

_IDENTITY = re.compile(r"[0-9a-f]{16}")


def sweep(wanted: set[str], nodes: tuple[NodePlan, ...], leaving: set[str], facts: HostFacts) -> Sweep | None:
    """What goes when these plans have been carried out; None: nothing. ``wanted``: releases that nodes will run."""
    told = facts.earlier
    planned = {each.node.name for each in nodes}
    needed = set(wanted)
    for node, links in told.links.items():
        if node not in planned | leaving:
            needed |= set(map(_named, links))  # a link that is none of ours is one all the same
    for plan in nodes:
        needed |= _former(plan, facts)
    rest = [each for each in told.came if _IDENTITY.fullmatch(each) and each not in needed]
    rest.sort(key=lambda each: told.came[each], reverse=True)
    gone = tuple(sorted(rest[1:] if nodes else rest))
    places = str(layout.RELEASES), str(layout.NODES), str(layout.FORMER)
    return Sweep(places[0], gone, places[1], places[2]) if gone else None


def _former(plan: NodePlan, facts: HostFacts) -> set[str]:
    """What the node could go back to when its plan has been carried out."""
    name = plan.node.name
    before = set(map(_named, facts.earlier.former.get(name, ())))
    keeps = [each for each in plan.actions if isinstance(each, Keep)]
    if not keeps:
        return before
    moved = any(plan.node.link[0] in each.paths for each in keeps)
    replaced = facts.paths.get(str(layout.pending(name))) is None
    now = set(map(_named, facts.earlier.links.get(name, ()))) if moved else set()
    return now if replaced else before | now


def _named(link: str) -> str:
    return link.rpartition("/")[2]
