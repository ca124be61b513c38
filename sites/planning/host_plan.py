"""What a plan is: rows for people and the actions behind them, of a host, its nodes, its proxy and what leaves it."""

from __future__ import annotations

from dataclasses import dataclass, field

from sites.desired.hosts import DesiredHost, DesiredNode
from sites.planning.actions import Action
from sites.planning.facts import HostFacts, RecordedNode

ADD, CHANGE, DESTROY, KEPT = "+", "~", "-", "="  # KEPT: said, and nothing is done
TopologyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a plan. ``path``: what in the topology asks for it; ``diff``: unified, secrets left out."""

    site: str
    host: str
    node: str
    sign: str
    operation: str
    change: str
    path: TopologyPath = ()
    commands: tuple[str, ...] = ()
    diff: str = ""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """``actions`` in order. ``settle``: what is done when the node has passed its health gate after them. ``starts``: they
    start or restart its process. ``was_there``: it passed its gate here before, so that there is something to go back
    to. ``runs``: its process is there now."""

    node: DesiredNode
    rows: tuple[Row, ...] = ()
    actions: tuple[Action, ...] = field(default=(), repr=False)
    starts: bool = False
    was_there: bool = False
    runs: bool = False
    settle: tuple[Action, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """What happens to the nginx in front of the nodes. ``settle``: when they have been reached through it; ``back`` undoes
    ``actions``. ``goes``: no node stands behind it any more, so it comes after them."""

    rows: tuple[Row, ...] = ()
    actions: tuple[Action, ...] = field(default=(), repr=False)
    settle: tuple[Action, ...] = field(default=(), repr=False)
    back: tuple[Action, ...] = field(default=(), repr=False)
    goes: bool = False


@dataclass(frozen=True, slots=True)
class Leaving:
    """A node that leaves a host. ``protected``: by what; ``runs``: it can be asked what it holds. ``first``: a node that
    stays wants its port, so that it goes before that one comes."""

    node: str
    told: RecordedNode
    row: Row
    protected: tuple[str, ...] = ()
    runs: bool = False
    first: bool = False
    actions: tuple[Action, ...] = field(default=(), repr=False)

    @property
    def holds_content(self) -> bool:
        """Whether it may hold what others do not have: a mirror's or virtual's is copies, an unknown kind's may be all."""
        return self.told.kind not in ("mirror", "virtual")


@dataclass(frozen=True, slots=True)
class Removal:
    """``rows``: beside those of the nodes that leave."""

    leaving: tuple[Leaving, ...] = ()
    rows: tuple[Row, ...] = ()

    @property
    def all_rows(self) -> tuple[Row, ...]:
        return (*(each.row for each in self.leaving), *self.rows)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """``prepare`` touches nothing that runs; then the nodes, one by one; ``finish`` (``last_rows``) guards them and records
    what is there. ``removal``: what leaves the host, when everything else has been done.
    ``proxy``: see planning/proxy.py."""

    host: DesiredHost
    facts: HostFacts
    rows: tuple[Row, ...] = ()
    prepare: tuple[Action, ...] = field(default=(), repr=False)
    nodes: tuple[NodePlan, ...] = ()
    finish: tuple[Action, ...] = field(default=(), repr=False)
    last_rows: tuple[Row, ...] = ()
    removal: Removal | None = None
    proxy: ProxyPlan = field(default_factory=ProxyPlan)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        gone = self.removal.all_rows if self.removal else ()
        of_nodes = (row for node in self.nodes for row in node.rows)
        return (*self.rows, *self.proxy.rows, *of_nodes, *self.last_rows, *gone)

    @property
    def idle(self) -> bool:
        """Whether no node of ours runs there, so that what comes interrupts nobody. A firewall or nginx is no node."""
        laid = self.facts.inventory.units if self.facts.inventory else {}
        units = (self.facts.units.get(each) for each in {*laid, *(node.node.unit for node in self.nodes)})
        return not any(unit and unit.active not in ("inactive", "failed", "") for unit in units)

    @property
    def changes(self) -> bool:
        leaving = bool((self.removal and self.removal.leaving) or self.proxy.actions)
        return leaving or bool(self.prepare or self.finish or any(each.actions for each in self.nodes))
