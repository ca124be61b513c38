"""Everything that a deployment to hosts stands on, put together from the topology and the state folder; and its plan."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sites.desired.bundle import Kind, Release, release
from sites.desired.certificates import pairs_of
from sites.desired.hosts import DesiredHost, desired
from sites.desired.inventory import Target, addresses_of, targets_of
from sites.desired.placement import Secrets, given
from sites.desired.protection import remembered, said
from sites.desired.proxy import DesiredProxy
from sites.hosts import HostError, HostErrors
from sites.loopback.placement import logins_of, robot_token
from sites.planning.admission import objections, of_others
from sites.planning.at_rest import not_encrypted
from sites.planning.clocks import wrong_clock
from sites.planning.facts import HostFacts, RecordedNode
from sites.planning.host_plan import HostPlan
from sites.planning.in_the_way import in_the_way
from sites.planning.machines import Recognised, elsewhere, recognised
from sites.planning.parts import with_parts
from sites.planning.plan import host_plan
from sites.planning.proxy import unfit_proxy, with_proxy
from sites.planning.records import unusable
from sites.planning.removal import vacated, with_removal
from sites.remembered import RememberedHost, read_hosts
from sites.settings.credentials import users_of
from sites.settings.node_grants import sources_of
from sites.settings.trust import authority_of, trust_of
from sites.state import StateFolder
from topology.model import Topology

_ROOM = 512 * 1024 * 1024  # bytes that a host must have free: a release, and room to work


@dataclass(frozen=True, slots=True)
class Deployment:
    """``hosts``: what each must have. ``urls``: where each node answers. ``trust`` None: the system's authorities.
    ``now``: of the whole run, in which no host stops to rest."""

    topology: Topology
    targets: Mapping[str, Target]
    hosts: Mapping[str, DesiredHost]
    release: Release
    engine: str
    urls: Mapping[str, str]
    trust: ssl.SSLContext | None
    before: Mapping[str, RememberedHost] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def left(self) -> dict[str, DesiredHost]:
        """Hosts to which an earlier apply brought nodes and that have none in the topology now, with something to do there.
        One that the topology calls by another name is not gone."""
        gone = {name: each for name, each in self.gone.items() if not each.rests(self.now)}
        return {
            name: DesiredHost(each.target(name), self.release, (), (), machine=each.machine)
            for name, each in gone.items()
        }

    @property
    def resting(self) -> dict[str, RememberedHost]:
        """Of such hosts those that keep trash alone, whose term still runs: they are not asked before its end."""
        return {name: each for name, each in self.gone.items() if each.rests(self.now)}

    @property
    def gone(self) -> dict[str, RememberedHost]:
        return elsewhere(self.before, self.targets)

    def recognised(self, facts: Mapping[str, HostFacts]) -> tuple[Deployment, Recognised]:
        """The same, once the hosts and ``left`` have said which machines they are."""
        known = recognised(self.before, self.targets, {name: each.machine_id for name, each in facts.items()})
        return replace(self, before=known.hosts), known

    def public_urls(self, hosts: Iterable[str]) -> dict[str, str]:
        """By node, of those hosts that the topology has."""
        return {node: self.urls[node] for each in hosts if each in self.targets for node in self.targets[each].nodes}

    def plans(self, facts: Mapping[str, HostFacts]) -> dict[str, HostPlan]:
        """Of hosts of the topology, and of those that left it. Raises HostErrors: every host that cannot be what it must
        be."""
        self._insist_ours(facts, {name: each.nodes for name, each in self.targets.items()})
        errors = [
            error for name, each in facts.items() if name in self.hosts for error in unfit(self.hosts[name], each)
        ]
        for name, each in facts.items():
            if name in self.hosts:
                errors += not_encrypted(self.topology, self.targets[name].nodes, name, each)
        if errors:
            raise HostErrors(errors)
        return {name: self._plan(name, each) for name, each in facts.items()}

    def removal_of_all(self, facts: Mapping[str, HostFacts]) -> dict[str, HostPlan]:
        """Every node of every host leaves. Raises HostErrors: hosts of another topology, records that are lost."""
        self._insist_ours(facts, {})
        hosts = {**self.left, **self.hosts}
        nothing: dict[str, Any] = {"directories": (), "nodes": (), "parts": (), "proxy": DesiredProxy()}
        bare = {name: replace(hosts[name], **nothing, machine=each.machine_id) for name, each in facts.items()}
        return {name: self._leave(_beside_nodes(vacated(bare[name], each))) for name, each in facts.items()}

    def taken_by_others(self, facts: Mapping[str, HostFacts]) -> frozenset[str]:
        """Hosts where we left nothing but trash, and that have another topology's nodes now: it empties the trash."""
        own = self.topology.metadata.name
        bare = [name for name, each in self.gone.items() if name in facts and not each.nodes]
        return frozenset(name for name in bare if any(of_others(name, own, facts[name], self.known_nodes)))

    def _insist_ours(self, facts: Mapping[str, HostFacts], wanted: Mapping[str, Collection[str]]) -> None:
        """What an inventory lists and we do not leaves: it must be ours, and list all that may leave."""
        own = self.topology.metadata.name
        errors = [error for name, each in facts.items() for error in of_others(name, own, each, self.known_nodes)]
        for name, each in facts.items():
            errors += unusable(name, each, wanted.get(name, ()))
        if errors:
            raise HostErrors(errors)

    def insist_readable(self, facts: Mapping[str, HostFacts]) -> None:
        """Raises HostErrors: hosts whose records cannot be read."""
        if errors := [error for name, each in facts.items() if each.unreadable for error in unusable(name, each, ())]:
            raise HostErrors(errors)

    @property
    def known_nodes(self) -> set[str]:
        """By the topology, and by the last apply."""
        return {*self.topology.nodes, *(node for each in self.before.values() for node in each.nodes)}

    def _plan(self, name: str, facts: HostFacts) -> HostPlan:
        if name not in self.hosts:
            return self._leave(_beside_nodes(vacated(self.left[name], facts)))
        host = replace(self.protected_on(name, facts), machine=facts.machine_id)
        return self._leave(_beside_nodes(host_plan(host, facts)))

    def protected_on(self, name: str, facts: HostFacts) -> DesiredHost:
        """What a host must have, its nodes protected as what is remembered here and there wants it."""
        known = facts.inventory.nodes if facts.inventory else {}
        host = {**self.left, **self.hosts}[name]
        nodes = (replace(each, protected=self.protected(name, each.name, known.get(each.name))) for each in host.nodes)
        return replace(host, nodes=tuple(nodes))

    def _leave(self, plan: HostPlan) -> HostPlan:
        there = self.before.get(plan.host.target.name)
        known = [(node, by) for node, each in there.nodes.items() for by in each.protected] if there else []
        return with_removal(plan, datetime.now(UTC), known)

    def protected(self, host: str, node: str, recorded: RecordedNode | None = None) -> tuple[str, ...]:
        """By what, when what is remembered here and on the host counts."""
        there = self.before.get(host)
        here = there.nodes[node].protected if there and node in there.nodes else ()
        return remembered(said(self.topology, node), {*here, *(recorded.protected if recorded else ())})


def _beside_nodes(plan: HostPlan) -> HostPlan:
    """With what the host needs beside its nodes."""
    return with_proxy(with_parts(plan))


def deployment(topology: Topology, state: StateFolder, now: datetime | None = None) -> Deployment:
    """Makes the secrets that are ours and still missing. Raises HostErrors, HostError."""
    targets = targets_of(topology)
    if not targets:
        raise HostError(
            "no-hosts", "no host has a node to run", next="place nodes on hosts with `site`, `host` and `ssh`"
        )
    people, logins, authority = users_of(topology), logins_of(topology), authority_of(topology)
    pairs = pairs_of(topology, targets, state.issued, datetime.now(UTC))
    robots = {name: robot_token(state, name) for name in topology.nodes if sources_of(topology, name)}
    secrets = Secrets(people, state.engine_token(), robots, logins, pairs)
    made = release(state.releases)
    hosts = desired(topology, targets, given(topology, secrets, authority), made)
    urls = {name: address.url for name, address in addresses_of(topology).items()}
    before, trust = read_hosts(state), trust_of(topology)
    return Deployment(topology, targets, hosts, made, secrets.engine, urls, trust, before, now or datetime.now(UTC))


def unfit(host: DesiredHost, facts: HostFacts) -> list[HostError]:
    """Why nothing of ours can run on this host."""
    kind, name = Kind(facts.python, facts.machine, facts.system), host.target.name
    found = []
    if not facts.systemd:
        found.append(_unfit(name, "does not run systemd", "a node is a systemd unit", "give a host that runs it"))
    if kind != host.release.kind:
        why = f"the release is made for {host.release.kind}, the host has {kind}"
        hint = "run apply where Python and processor are like the hosts'"
        found.append(_unfit(name, "cannot run this release", why, hint))
    if host.release.identity not in facts.releases and facts.disk.free < _ROOM:
        why = f"{facts.disk.free >> 20} MiB are free where data lie, {_ROOM >> 20} MiB are wanted"
        found.append(_unfit(name, "has a full disk", why, "free some space there, then run this again"))
    clock = wrong_clock(name, facts)
    found += [clock] if clock else []
    found += in_the_way(host, facts)
    return [*found, *_taken_ports(host, facts), *objections(host, facts), *unfit_proxy(host, facts)]


def _taken_ports(host: DesiredHost, facts: HostFacts) -> list[HostError]:
    """Ports on which somebody else listens: the unit of the node that wants it does not run."""
    return [
        HostError(
            "port-in-use",
            f"port {node.settings.listen.port} of host {host.target.name} is in use",
            where=f"node {node.name}",
            why=f"{facts.ports[node.settings.listen.port]} listens there",
            next=f"stop that program, or give {node.name} another port in the topology",
        )
        for node in host.nodes
        if node.settings.listen.port in facts.ports and not _ours(node.settings.listen.port, facts)
    ]


def _ours(port: int, facts: HostFacts) -> bool:
    """Whether a unit of ours listens there: this node's, or that of one whose port moves in the same plan."""
    holders = {f"(process {unit.pid})" for unit in facts.units.values() if unit.pid}
    return any(facts.ports[port].endswith(each) for each in holders)


def _unfit(name: str, what: str, why: str, next: str) -> HostError:
    return HostError("host-unfit", f"host {name} {what}", why=why, next=next)
