"""What is too slow or too often for what it reads: D6, D7."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import networkx as nx
from cronsim import CronSim

from identity.grants import matches
from topology.edges import PLACEHOLDER
from topology.findings import Breach
from topology.graph import Flow, Vertex, node
from topology.model import ExternalNode, MirrorNode, Replication, Topology
from topology.rules.subject import Subject

MIRROR_DEFAULT = timedelta(hours=1)  # a mirror's tagTtl when none is written
FLOATING = timedelta(minutes=5)  # who moves a tag expects it to be seen by then


def hidden_move(subject: Subject) -> Iterator[Breach]:
    """D6."""
    serving = _serving(subject)
    for name, mirror in subject.topology.nodes.items():
        if not isinstance(mirror, MirrorNode) or node(name) not in serving:
            continue
        ttl = MIRROR_DEFAULT if mirror.tag_ttl is None else mirror.tag_ttl
        if ttl <= FLOATING:
            continue
        for scope, tag in _floating(subject.topology):
            if Vertex("scope", scope) in nx.ancestors(serving, node(name)):
                message = f"mirror `{name}` may show the old `{tag}` of scope `{scope}` for {_said(ttl)} after it moved"
                help = "write `tagTtl: 1m`: one HEAD to a node of ours costs next to nothing"
                yield Breach(("nodes", name, "tagTtl"), message, help, at_key=True)
                break


def _serving(subject: Subject) -> nx.DiGraph[Vertex]:
    """From scopes to what serves their images."""
    graph: nx.DiGraph[Vertex] = nx.DiGraph()
    flows = (Flow.HOLDS, Flow.MEMBER, Flow.UPSTREAM)
    graph.add_edges_from((link.source, link.target) for link in subject.links if link.flow in flows)
    return graph


def _floating(topology: Topology) -> Iterator[tuple[str, str]]:
    """The tags that promotions set anew each time, with their scope."""
    for edge in topology.promotions:
        scope = topology.scopes.get(edge.target)
        for tag in edge.tags:
            fixed = scope is None or (scope.immutable_tags and matches(tag, scope.immutable_tags))
            if not PLACEHOLDER.search(tag) and not fixed:
                yield edge.target, tag


def _said(ttl: timedelta) -> str:
    minutes = int(ttl.total_seconds() // 60)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def small_budget(subject: Subject) -> Iterator[Breach]:
    """D7."""
    for name, external in subject.topology.nodes.items():
        if not isinstance(external, ExternalNode) or external.budget is None:
            continue
        pulls, per = external.budget.pulls, external.budget.per
        wanted = sum(
            _runs(each, per, pulls) * _manifests(each) for each in subject.topology.replications if each.source == name
        )
        if wanted > pulls:
            message = f"the schedules that read `{name}` may ask for {wanted} manifests or more where it gives {pulls}"
            help = "run them less often, name fewer repositories and tags, or sign in for a larger budget"
            yield Breach(("nodes", name, "budget", "pulls"), message, help)


def _runs(replication: Replication, per: timedelta, most: int) -> int:
    """How often it runs in that time; no further than it matters."""
    runs = min(most + 1, int(per / replication.reconcile)) if replication.reconcile else 0
    if replication.cron:
        start = datetime(2024, 1, 1)
        due = (time for time in islice(CronSim(replication.cron, start), most + 1) if time < start + per)
        runs += max(1, sum(1 for _ in due))
    return runs


def _manifests(replication: Replication) -> int:
    """Of one run in which everything is new: at least one for each repository and tag that are named."""
    tags = replication.tags.newest or len(replication.tags.globs)
    return len(replication.repositories) * tags
