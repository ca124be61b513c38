"""Whether somebody may do something at a node of any kind: worked out as the nodes do it, with the reasons.

| node | lets in |
|---|---|
| of a scope | by the scope (scope_permissions.py) |
| mirror | by its own grants; without any whoever may pull at each of its upstreams |
| virtual | whoever a member lets in that may answer for the name; pushes: whoever its pushTo lets |
| external without a scope | everyone; with a login whoever is signed in at the node that asks |
"""

from __future__ import annotations

from dataclasses import replace

from identity.grants import Action, allowed, matches
from sites.permissions.grounds import Asked, Ground, Verdict, listed, no
from sites.permissions.of_scopes import may_in_scope
from sites.settings.node_grants import grants_at
from topology.model import ExternalNode, LocalNode, MirrorNode, Topology, VirtualNode

Within = frozenset[str]


def may(topology: Topology, node: str, asked: Asked, within: Within = frozenset()) -> Verdict:
    """At a declared node. Raises LookupError for a name that is none."""
    declared = topology.nodes[node]
    if node in within:
        return no(f"{node} stands behind itself", ("nodes", node))
    if asked.action is Action.ANNOTATE:
        return no("custom properties are not built yet: annotate lets nobody do anything", ("nodes", node))
    match declared:
        case MirrorNode():
            return _at_a_mirror(topology, node, declared, asked, within | {node})
        case VirtualNode():
            return _at_a_virtual(topology, node, declared, asked, within | {node})
        case ExternalNode(scope=None):
            return _at_a_foreign_registry(topology, node, declared, asked)
    at = declared.site if isinstance(declared, LocalNode) else asked.site
    return may_in_scope(topology, node, declared.scope or "", replace(asked, site=at))


def _at_a_mirror(topology: Topology, node: str, mirror: MirrorNode, asked: Asked, within: Within) -> Verdict:
    if asked.action in (Action.PUSH, Action.PROMOTE):
        return no(f"{node} is a mirror: nobody pushes to it", ("nodes", node, "kind"))
    if not matches(asked.repository, mirror.repositories) or matches(asked.repository, mirror.deny):
        return no(f"{node} does not mirror {asked.repository}", ("nodes", node))
    if mirror.grants is not None or asked.action is Action.DELETE:
        return _by_its_grants(node, mirror, asked)
    rule = Ground(f"{node} lets in whoever may pull at each of its upstreams", ("nodes", node, "upstreams"))
    found = [may(topology, each, replace(asked, site=mirror.site), within) for each in mirror.sources]
    for each in found:
        if not each.allowed:
            return Verdict(False, (rule, *each.grounds))
    if not _by_settings(topology, node, asked):
        told = f"the grants at the upstreams of {node} have no subject in common: declare grants of its own"
        return no(told, ("nodes", node, "upstreams"))
    return Verdict(True, (rule, *dict.fromkeys(ground for each in found for ground in each.grounds)))


def _by_its_grants(node: str, mirror: MirrorNode, asked: Asked) -> Verdict:
    for at, each in enumerate(mirror.grants or ()):
        if asked.action in each.allow and asked.who.is_called(each.to) and matches(asked.repository, each.repositories):
            return Verdict(
                True, (Ground(f"granted to {each.to}: {listed(each.allow)}", ("nodes", node, "grants", at)),)
            )
    return no(f"no grant of {node} lets {asked.name} {asked.action} {asked.image}", ("nodes", node, "grants"))


def _at_a_virtual(topology: Topology, node: str, virtual: VirtualNode, asked: Asked, within: Within) -> Verdict:
    inside = replace(asked, site=virtual.site)
    if asked.action is Action.PROMOTE:
        return no(f"{node} is a virtual: a promotion leads to a scope", ("nodes", node, "kind"))
    if asked.action is not Action.PULL:
        return _pushed_through(topology, node, virtual, inside, within)
    members, rule = _way(node, virtual, asked.repository)
    if len(within) > 1 and not _by_settings(topology, node, asked):
        told = f"behind another node, {node} lets in only who may pull at each member that could answer"
        return Verdict(False, (rule, Ground(told, ("nodes", node, "members"))))
    refused: list[Ground] = []
    for each in members:
        there = may(topology, each, inside, within)
        if there.allowed:
            return Verdict(True, (rule, Ground(f"{each} lets them", ("nodes", each)), *there.grounds))
        refused += there.grounds
    return Verdict(False, (rule, *dict.fromkeys(refused)))


def _pushed_through(topology: Topology, node: str, virtual: VirtualNode, asked: Asked, within: Within) -> Verdict:
    members, rule = _way(node, virtual, asked.repository)
    if virtual.push_to is None:
        return no(f"{node} takes no pushes: no member is declared for them (pushTo)", ("nodes", node))
    to = Ground(f"pushes to {node} go to {virtual.push_to}", ("nodes", node, "pushTo"))
    if virtual.push_to not in members:
        return Verdict(False, (to, rule, Ground(f"nobody asks {virtual.push_to} for {asked.repository}", rule.path)))
    there = may(topology, virtual.push_to, asked, within)
    return Verdict(there.allowed, (to, *there.grounds))


def _way(node: str, virtual: VirtualNode, repository: str) -> tuple[tuple[str, ...], Ground]:
    """As the node routes (registry_node/registries/virtual/routing.py)."""
    for glob, owners in virtual.owns.items():
        if matches(repository, (glob,)):
            return owners, Ground(f"{glob} is owned by {listed(owners)}", ("nodes", node, "owns", glob))
    if virtual.unmatched == "deny":
        return (), Ground(f"nobody owns {repository}, and what nobody owns is denied", ("nodes", node, "owns"))
    return virtual.members, Ground(f"nobody owns {repository}: all members are asked", ("nodes", node, "unmatched"))


def _at_a_foreign_registry(topology: Topology, node: str, external: ExternalNode, asked: Asked) -> Verdict:
    if asked.action is not Action.PULL:
        return no(f"{node} is only read", ("nodes", node))
    told = "by whoever is signed in here, with its own login" if external.auth else "by everyone, without a login"
    ground = Ground(f"{node} is read {told}", ("nodes", node, "auth") if external.auth else ("nodes", node))
    return Verdict(_by_settings(topology, node, asked), (ground,))


def _by_settings(topology: Topology, node: str, asked: Asked) -> bool:
    """What the grants in the node's settings say."""
    grants = [each.grant() for each in grants_at(topology, node, asked.site)]
    return allowed(grants, asked.who, asked.action, asked.repository, asked.tag or None)
