"""In which order hosts are changed: a canary first, then one after the other, those with a scope's primary last.

Pure. A wave is a set of hosts that may be changed at the same time; no two of them hold running nodes of one scope, so
that of a scope with replicas one always serves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sites.desired.inventory import Target
from topology.model import LocalNode, Role, Topology


def waves(topology: Topology, targets: Iterable[Target], idle: Collection[str] = ()) -> tuple[tuple[Target, ...], ...]:
    """The first wave is one host, the canary; of each site the hosts of one failure domain come before the next's.
    ``idle``: hosts on which nothing of ours runs; their first nodes interrupt nobody, so after the canary they go at once.
    """
    ordered = sorted(targets, key=lambda each: (_primaries(topology, each), _place(topology, each)))
    if not ordered:
        return ()
    canary, rest = ordered[0], [each for each in ordered[1:] if each.name not in idle]
    together = [each for each in ordered[1:] if each.name in idle]
    found: list[list[Target]] = []
    for target in rest:
        if found and _may_go_together(topology, target, found[-1]):
            found[-1].append(target)
        else:
            found.append([target])
    return ((canary,), *((tuple(together),) if together else ()), *(tuple(each) for each in found))


def _may_go_together(topology: Topology, target: Target, wave: Sequence[Target]) -> bool:
    """Same site and failure domain, no primary among them, and no scope in common: what fails together anyway."""
    first = wave[0]
    if (first.site, _domain(topology, first)) != (target.site, _domain(topology, target)):
        return False
    if _primaries(topology, target) or any(_primaries(topology, each) for each in wave):
        return False
    taken = {scope for each in wave for scope in scopes_on(topology, each)}
    return not taken & scopes_on(topology, target)


def scopes_on(topology: Topology, target: Target) -> set[str]:
    """The scopes whose images the host's nodes hold."""
    nodes = (topology.nodes[each] for each in target.nodes)
    return {each.scope for each in nodes if isinstance(each, LocalNode)}


def _primaries(topology: Topology, target: Target) -> int:
    nodes = (topology.nodes[each] for each in target.nodes)
    return sum(isinstance(each, LocalNode) and each.role is Role.PRIMARY for each in nodes)


def _domain(topology: Topology, target: Target) -> str:
    """A host that names none is one of its own."""
    return topology.sites[target.site].hosts[target.name].failure_domain or target.name


def _place(topology: Topology, target: Target) -> tuple[int, str, str]:
    return list(topology.sites).index(target.site), _domain(topology, target), target.name
