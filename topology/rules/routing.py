"""Which registry answers for a name: S1, S3, G12. What an outsider could register must never stand in for our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from topology.findings import Breach
from topology.globs import any_covers, any_overlap, covers, overlap
from topology.model import ExternalNode, LocalNode, MirrorNode, Topology, VirtualNode
from topology.rules.subject import Subject
from topology.values import EVERYTHING

Globs = Sequence[str]


def shadowing(subject: Subject) -> Iterator[Breach]:
    """S1."""
    topology = subject.topology
    for name, node in topology.nodes.items():
        if isinstance(node, MirrorNode):
            for first, second in combinations(range(len(node.upstreams)), 2):
                one, other = node.upstreams[first], node.upstreams[second]
                if _both_outside(topology, one.node, other.node) and _overlap(node, first, second):
                    message = f"mirror `{name}` asks `{one.node}` and `{other.node}` for the same names"
                    help = f"say which is whose: {{node: {other.node}, repositories: [...]}}, or `deny` at one of them"
                    yield Breach(("nodes", name, "upstreams", second), message, help)
        elif isinstance(node, VirtualNode) and node.unmatched == "members":
            for one_name, other_name in combinations(node.members, 2):
                if _both_outside(topology, one_name, other_name):
                    message = f"virtual `{name}` asks `{one_name}` and `{other_name}` for names that nobody owns"
                    help = "say under `owns` which of them answers for which prefix, and deny the rest"
                    yield Breach(("nodes", name, "unmatched"), message, help, at_key=True)


def falls_through(subject: Subject) -> Iterator[Breach]:
    """S3."""
    topology = subject.topology
    for name, node in topology.nodes.items():
        if isinstance(node, MirrorNode):
            yield from _mirror_falls_through(topology, name, node)
        elif isinstance(node, VirtualNode):
            yield from _virtual_falls_through(topology, name, node)


def _mirror_falls_through(topology: Topology, name: str, node: MirrorNode) -> Iterator[Breach]:
    for first, second in combinations(range(len(node.upstreams)), 2):
        sides = _sides(topology, (node.upstreams[first].node, node.upstreams[second].node))
        if sides and _overlap(node, first, second):
            own, outside = sides
            message = f"mirror `{name}` asks `{outside}`, outside, for names that may be those of `{own}`"
            help = f"part them: {{node: {outside}, repositories: [...]}} and `deny` those at the other"
            yield Breach(("nodes", name, "upstreams", second), message, help)


def _virtual_falls_through(topology: Topology, name: str, node: VirtualNode) -> Iterator[Breach]:
    help = "let our own members own the prefix alone, and give what comes from outside one of its own"
    for prefix, owners in node.owns.items():
        for pair in combinations(owners, 2):
            sides = _sides(topology, pair)
            if sides and any_overlap((prefix,), _served(topology, sides[1])):
                message = f"a name of `{prefix}` that `{sides[0]}` does not have is asked of `{sides[1]}`, outside"
                yield Breach(("nodes", name, "owns", prefix, owners.index(pair[1])), message, help)
    if node.unmatched != "members":
        return
    for pair in combinations(node.members, 2):
        sides = _sides(topology, pair)
        if sides and not all(any_covers(node.owns, each) for each in _served(topology, sides[1])):
            message = f"a name that `{sides[0]}` does not have and nobody owns is asked of `{sides[1]}`, outside"
            yield Breach(("nodes", name, "unmatched"), message, help)


def _sides(topology: Topology, pair: tuple[str, str]) -> tuple[str, str] | None:
    """Which of the two is our own and which leads outside; None: no such pair, or one is a replica of the other."""
    for own, outside in (pair, pair[::-1]):
        ours = [each for each in _ends(topology, own) if _is_ours(topology, each)]
        theirs = [each for each in _ends(topology, outside) if not _is_ours(topology, each)]
        if ours and any(not _replica(topology, a, b) for a in ours for b in theirs):
            return own, outside
    return None


def _both_outside(topology: Topology, one: str, other: str) -> bool:
    ends = [[each for each in _ends(topology, name) if not _is_ours(topology, each)] for name in (one, other)]
    return any(a != b and not _replica(topology, a, b) for a in ends[0] for b in ends[1])


def _ends(topology: Topology, node: str, within: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The local and external nodes that a node leads to."""
    match topology.nodes.get(node):
        case LocalNode() | ExternalNode():
            return (node,)
        case MirrorNode() as front if node not in within:
            sources = front.sources
        case VirtualNode() as front if node not in within:
            sources = front.members
        case _:
            return ()
    found = (end for each in sources for end in _ends(topology, each, within | {node}))
    return tuple(dict.fromkeys(found))


def _is_ours(topology: Topology, node: str) -> bool:
    """Whether what is there is decided here: it holds a declared scope's images."""
    return getattr(topology.nodes[node], "scope", None) is not None


def _replica(topology: Topology, one: str, other: str) -> bool:
    """Whether a replication leads from one to the other: then they are not two sources."""
    return any(
        (each.source == one and other in each.targets) or (each.source == other and one in each.targets)
        for each in topology.replications
    )


def _served(topology: Topology, node: str) -> Globs:
    declared = topology.nodes[node]
    return declared.repositories if isinstance(declared, MirrorNode) else EVERYTHING


def _overlap(node: MirrorNode, first: int, second: int) -> bool:
    """Whether both are asked for some name."""
    denied = (*node.deny, *node.upstreams[first].deny, *node.upstreams[second].deny)
    for one in node.upstreams[first].repositories:
        for other in node.upstreams[second].repositories:
            narrow = one if covers(other, one) else other
            if overlap(one, other) and any_overlap((narrow,), node.repositories) and not any_covers(denied, narrow):
                return True
    return False


def contradiction(subject: Subject) -> Iterator[Breach]:
    """G12. The first prefix that fits a name decides; a narrower one before a wider one is in good order."""
    for name, node in subject.topology.nodes.items():
        if not isinstance(node, VirtualNode):
            continue
        for (first, owners), (second, others) in combinations(node.owns.items(), 2):
            if set(owners) == set(others) or not overlap(first, second) or covers(second, first):
                continue
            dead = covers(first, second)
            what = "never holds: every name of it" if dead else "has names that"
            message = f"`{second}` of virtual `{name}` {what} {'is' if dead else 'are also'} owned by `{first}`"
            help = (
                f"write `{second}` before `{first}`" if dead else "part the two prefixes, or give both the same owners"
            )
            yield Breach(("nodes", name, "owns", second), message, help, at_key=True)
