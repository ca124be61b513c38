"""Graph rules: one function each, in one table (``topology.rules.table``)."""

from __future__ import annotations

from collections.abc import Iterator

from topology.findings import Breach
from topology.graph import build
from topology.model import Topology
from topology.rules.subject import Rule as Rule
from topology.rules.subject import Subject
from topology.rules.table import RULES as RULES


def check_rules(topology: Topology, unsure: frozenset[str] = frozenset()) -> Iterator[tuple[Rule, Breach]]:
    """Runs the table. ``unsure``: sections of which an earlier stage refused something."""
    subject = Subject(topology, build(topology), unsure)
    for rule in RULES:
        if rule.check is not None:
            for breach in rule.check(subject):
                yield rule, breach
