"""Our table of the packet filter as it is loaded, against the one that its file says. Pure.

Both are printed by the host's own nft, without counters, so that they differ only when somebody changed what is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sites.desired import layout
from sites.planning.compare import edited, unified
from sites.planning.facts import HostFacts, RecordedPart

NAME = f"table inet {layout.TABLE}"
CHANGED = "its rules were changed by hand"


def changed_by_hand(facts: HostFacts) -> str:
    """The difference, unified, from what is loaded to what the file says; "" when there is none or it is not known."""
    return unified(facts.table, facts.table_of_file, NAME) if facts.table and facts.table_of_file else ""


def drifted(facts: HostFacts, files: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """What became of the loaded rules, and the difference; None: they are those of ``files``, as an inventory lists them."""
    if not facts.table:
        return f"{NAME} is not loaded", ""
    rules = str(layout.FIREWALL)
    diff = "" if edited(facts.paths.get(rules), files.get(rules, {})) else changed_by_hand(facts)
    return (f"{NAME} was changed by hand", diff) if diff else None


def left_behind(facts: HostFacts) -> RecordedPart | None:
    """Our firewall where no inventory tells of it: its table is loaded, by the name that its chain has."""
    if not facts.table or "chain nodes_" not in facts.table:
        return None
    files: dict[str, dict[str, Any]] = {each: {} for each in sorted(layout.OF_PARTS - {str(layout.JOURNAL)})}
    return RecordedPart(files=files, unit=layout.FIREWALL_UNIT)
