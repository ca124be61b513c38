"""Whether the parts fit together: G4, G7, R7."""

from __future__ import annotations

from collections.abc import Iterator

from topology.findings import Breach
from topology.model import ExternalNode, KeyTrust, LocalNode, MirrorNode, Placed, Role, VirtualNode
from topology.rules.endpoints import unfit_endpoints
from topology.rules.subject import Subject
from topology.rules.writers import BY_EDGE


def dangling(subject: Subject) -> Iterator[Breach]:
    """G4. The name exists, but what it names cannot play that part."""
    yield from _replication_targets(subject)
    yield from _virtual_parts(subject)
    yield from _push_targets(subject)
    yield from _neighbours(subject)
    yield from _grant_sites(subject)
    yield from _signing_keys(subject)
    yield from _backup_sources(subject)
    yield from unfit_endpoints(subject)


def _replication_targets(subject: Subject) -> Iterator[Breach]:
    for index, replication in enumerate(subject.topology.replications):
        for number, name in enumerate(replication.targets):
            path = ("replications", index, "to", number)
            if name == replication.source:
                yield Breach(path, f"replication `{replication.id}` leads back to its own source", "name another node")
            target = subject.topology.nodes.get(name)
            if target is not None and not isinstance(target, LocalNode | ExternalNode):
                message = (
                    f"replication `{replication.id}` writes to `{name}`, a {target.kind} node, which takes no images"
                )
                yield Breach(path, message, "name a local or external node")


def _virtual_parts(subject: Subject) -> Iterator[Breach]:
    for name, node in subject.topology.nodes.items():
        if not isinstance(node, VirtualNode):
            continue
        help = f"add it to the members of `{name}`, or name one of them"
        for prefix, owners in node.owns.items():
            for index, owner in enumerate(owners):
                if owner not in node.members:
                    message = f"`{prefix}` of virtual `{name}` is owned by `{owner}`, which is not one of its members"
                    yield Breach(("nodes", name, "owns", prefix, index), message, help)
        if node.push_to and node.push_to not in node.members:
            message = f"virtual `{name}` pushes to `{node.push_to}`, which is not one of its members"
            yield Breach(("nodes", name, "pushTo"), message, help)


def _push_targets(subject: Subject) -> Iterator[Breach]:
    for name, node in subject.topology.nodes.items():
        if isinstance(node, VirtualNode) and node.push_to in node.members:
            refusal = _takes_no_pushes(subject, node.push_to)
            if refusal:
                message = f"virtual `{name}` pushes to `{node.push_to}`, {refusal}"
                yield Breach(("nodes", name, "pushTo"), message, "name a member of a scope that people push to")


def _takes_no_pushes(subject: Subject, name: str) -> str:
    match subject.topology.nodes.get(name):
        case MirrorNode():
            return "a mirror, which takes no pushes"
        case VirtualNode(push_to=None):
            return "a virtual that says no `pushTo`"
        case ExternalNode(takes_pushes=False):
            return "which is only ever pulled from"
        case LocalNode() as local if (scope := subject.topology.scopes.get(local.scope)) and scope.write in BY_EDGE:
            return f"whose scope `{local.scope}` is {scope.write}"
        case LocalNode(role=Role.REPLICA):
            return "a replica, which takes images from its primary alone"
    return ""


def _neighbours(subject: Subject) -> Iterator[Breach]:
    for name, node in subject.topology.nodes.items():
        for index, each in enumerate(node.neighbours or () if isinstance(node, MirrorNode) else ()):
            other = subject.topology.nodes.get(each)
            beside = (
                isinstance(other, LocalNode)
                and isinstance(node, Placed)
                and (other.site, other.host)
                == (
                    node.site,
                    node.host,
                )
            )
            if other is not None and not beside:
                message = f"mirror `{name}` reads copies of `{each}`, which is no local node of its host"
                yield Breach(("nodes", name, "neighbours", index), message, "name local nodes of the same host")


def _grant_sites(subject: Subject) -> Iterator[Breach]:
    if "nodes" in subject.unsure:
        return
    for name, scope in subject.topology.scopes.items():
        present = {node.site for _, node in subject.topology.members_of(name) if isinstance(node, LocalNode)}
        for index, grant in enumerate(scope.grants):
            for number, site in enumerate(grant.sites or ()):
                if site in subject.topology.sites and site not in present:
                    message = f"a grant of scope `{name}` holds at `{site}`, where the scope has no node"
                    yield Breach(("scopes", name, "grants", index, "sites", number), message, "add a replica there")


def _signing_keys(subject: Subject) -> Iterator[Breach]:
    for index, edge in enumerate(subject.topology.promotions):
        trust = subject.topology.trust.get(edge.attest_with or "")
        if trust is not None and not (isinstance(trust, KeyTrust) and trust.private_key):
            message = f"promotion `{edge.id}` attests with `{edge.attest_with}`, which has no private key to sign with"
            yield Breach(
                ("promotions", index, "attestWith"), message, "add `privateKey: {file: …}` to that trust entry"
            )


def _backup_sources(subject: Subject) -> Iterator[Breach]:
    for index, backup in enumerate(subject.topology.backups):
        node = subject.topology.nodes.get(backup.source)
        if node is not None and subject.scope_of_node(backup.source) != backup.scope:
            message = f"the backup of scope `{backup.scope}` reads `{backup.source}`, which is not a node of that scope"
            yield Breach(("backups", index, "from"), message, f"name a node of `{backup.scope}`")


def one_primary(subject: Subject) -> Iterator[Breach]:
    """G7."""
    for name in subject.topology.scopes:
        primaries = [node for node, each in subject.topology.members_of(name) if each.role is Role.PRIMARY]
        if not primaries and "nodes" not in subject.unsure:
            help = f"add a node with `scope: {name}, role: primary`"
            yield Breach(("scopes", name), f"scope `{name}` has no primary node", help, at_key=True)
        for extra in primaries[1:]:
            message = f"scope `{name}` already has a primary, `{primaries[0]}`"
            yield Breach(("nodes", extra), message, f"make `{extra}` a replica: `role: replica`", at_key=True)


def port_twice(subject: Subject) -> Iterator[Breach]:
    """R7."""
    taken: dict[tuple[str, str, int], str] = {}
    for name, node in subject.topology.nodes.items():
        if isinstance(node, Placed):
            first = taken.setdefault((node.site, node.host, node.port), name)
            if first != name:
                message = f"port {node.port} of host `{node.host}` is taken by `{first}`"
                yield Breach(("nodes", name, "port"), message, "choose another port")
