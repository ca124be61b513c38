"""What a topology changes of the cleanup rules that were applied last. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from promotions.retention import describe, duration
from topology.model import Cleanup, Topology

NONE = "none"


@dataclass(frozen=True, slots=True)
class CleanupChange:
    """``was`` and ``is_``: the rules in one line; ``none``: the scope is not cleaned up."""

    scope: str
    was: str
    is_: str

    def __str__(self) -> str:
        return f"{self.was} -> {self.is_}"


def rules(topology: Topology) -> dict[str, str]:
    """By scope, the rules in one line: what is kept of a topology to compare the next one with."""
    return {name: in_words(scope.cleanup) for name, scope in topology.scopes.items()}


def in_words(cleanup: Cleanup | None) -> str:
    """``keep pushedWithin 3d or newest 20, every 6h``"""
    if cleanup is None:
        return NONE
    parts = ["keep " + " or ".join(describe(each) for each in cleanup.keep)]
    parts.append(f"every {duration(cleanup.every)}" if cleanup.every else f"cron '{cleanup.cron}' {cleanup.timezone}")
    parts += [f"trash {duration(cleanup.trash)}"] if cleanup.trash else []
    parts += [f"untaggedAfter {duration(cleanup.untagged_after)}"] if cleanup.untagged_after else []
    parts += [f"maxPercent {cleanup.max_percent:g}"] if cleanup.max_percent != _USUAL else []
    return ", ".join(parts)


def changed(former: Mapping[str, str], topology: Topology) -> tuple[CleanupChange, ...]:
    """``former``: as ``rules`` gave them of what was applied last. Scopes that are new are none."""
    return tuple(
        CleanupChange(scope, former[scope], is_)
        for scope, is_ in rules(topology).items()
        if former.get(scope, is_) != is_
    )


_USUAL = Cleanup.model_fields["max_percent"].default
