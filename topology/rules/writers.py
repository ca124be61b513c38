"""Who writes where: G8, G11, S4, S5."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from identity.grants import Action, WritePolicy
from topology.edges import PLACEHOLDER
from topology.findings import Breach
from topology.globs import any_overlap
from topology.model import ApprovalGate, ScopeClass, SignatureGate, Topology
from topology.rules.subject import Subject

BY_EDGE = (WritePolicy.PROMOTION_ONLY, WritePolicy.REPLICATION_ONLY, WritePolicy.READ_ONLY)


class _Writer(NamedTuple):
    says: str
    repositories: tuple[str, ...]
    tags: tuple[str, ...]  # globs
    path: tuple[str | int, ...]


def two_writers(subject: Subject) -> Iterator[Breach]:
    """G8. Two edges are named once, however many nodes they share."""
    named: set[tuple[_Writer, _Writer]] = set()
    for node, writers in _writers(subject.topology).items():
        for first, second in combinations(writers, 2):
            if (first, second) in named or not _overlap(first, second):
                continue
            named.add((first, second))
            message = f"{second.says} and {first.says} can write the same tag of the same repository at `{node}`"
            yield Breach(second.path, message, "part their `repositories` or their `tags`")


def _overlap(first: _Writer, second: _Writer) -> bool:
    return any_overlap(first.tags, second.tags) and any_overlap(first.repositories, second.repositories)


def _writers(topology: Topology) -> dict[str, list[_Writer]]:
    """By the node that is written to."""
    found: dict[str, list[_Writer]] = defaultdict(list)
    for index, edge in enumerate(topology.promotions):
        tags = tuple(PLACEHOLDER.sub("*", tag) for tag in edge.tags)
        primary = next((name for name, node in topology.members_of(edge.target) if node.role == "primary"), None)
        if primary:
            writer = _Writer(f"promotion `{edge.id}`", edge.repositories, tags, ("promotions", index, "id"))
            found[primary].append(writer)
    for index, each in enumerate(topology.replications):
        writer = _Writer(f"replication `{each.id}`", each.repositories, each.tags.globs, ("replications", index, "id"))
        for target in dict.fromkeys(each.targets):
            found[target].append(writer)
    return found


def writable_prod(subject: Subject) -> Iterator[Breach]:
    """G11."""
    for name, scope in subject.scopes_of(ScopeClass.PROD).items():
        if scope.write not in BY_EDGE:
            message = f"prod-class scope `{name}` can be written other than by an edge (write: {scope.write})"
            yield Breach(("scopes", name, "write"), message, "write `write: promotion-only`", at_key=True)


def push_on_promotion_only(subject: Subject) -> Iterator[Breach]:
    """S4."""
    for name, scope in subject.topology.scopes.items():
        if scope.write not in BY_EDGE:
            continue
        for index, grant in enumerate(scope.grants):
            for number, action in enumerate(grant.allow):
                if action in (Action.PUSH, Action.PROMOTE):
                    message = f"`{grant.to}` is granted {action} in scope `{name}`, which is {scope.write}"
                    help = (
                        "name them under `by` of an edge instead"
                        if action is Action.PUSH
                        else "the engine alone promotes"
                    )
                    yield Breach(("scopes", name, "grants", index, "allow", number), message, help)


def ungated_prod(subject: Subject) -> Iterator[Breach]:
    """S5. A gate that is not known may be the one that is needed: nothing is said then."""
    gates, prod = subject.topology.gates, subject.scopes_of(ScopeClass.PROD)
    for index, edge in enumerate(subject.topology.promotions):
        if edge.target not in prod or not all(name in gates for name in edge.gates):
            continue
        if not any(isinstance(gates[name], SignatureGate | ApprovalGate) for name in edge.gates):
            message = f"promotion `{edge.id}` leads into prod-class scope `{edge.target}` without signature or approval"
            yield Breach(
                ("promotions", index, "gates"), message, "add a gate of type signature or approval", at_key=True
            )
    for index, each in enumerate(subject.topology.replications):
        for number, target in enumerate(each.targets):
            scope = subject.scope_of_node(target)
            if scope in prod and each.source in subject.topology.nodes and subject.scope_of_node(each.source) != scope:
                message = (
                    f"replication `{each.id}` brings images of `{each.source}` into prod-class scope `{scope}` ungated"
                )
                yield Breach(("replications", index, "to", number), message, "make it a promotion, with gates")
