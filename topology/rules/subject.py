"""What a rule looks at, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from topology.findings import Breach, Severity
from topology.graph import Link, Vertex, links
from topology.model import Scope, ScopeClass, Topology


@dataclass(frozen=True)
class Subject:
    """``unsure``: sections of which an earlier stage refused something. What seems absent there may only be unread."""

    topology: Topology
    graph: nx.MultiDiGraph[Vertex]
    unsure: frozenset[str] = frozenset()

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Every edge as it is written, also to names that are not declared."""
        return tuple(links(self.topology))

    def scopes_of(self, class_: ScopeClass) -> dict[str, Scope]:
        return {name: scope for name, scope in self.topology.scopes.items() if scope.class_ is class_}

    def scope_of_node(self, name: str) -> str | None:
        """The scope whose images a node holds."""
        return getattr(self.topology.nodes.get(name), "scope", None)


PLAN = "plan"  # the stage of rules that ``towpath plan`` checks
Check = Callable[[Subject], Iterator[Breach]]


@dataclass(frozen=True, slots=True)
class Rule:
    """``check`` None: the place of a rule that is not checked yet (``stage`` ""), that loading checks (S9), or that needs
    the running hosts and nodes (PLAN)."""

    code: str
    severity: Severity
    title: str
    explanation: str
    check: Check | None = None
    stage: str = "graph"
