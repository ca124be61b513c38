"""``may`` says what the nodes do: compared with the settings that they are given, evaluated as they evaluate them."""

from __future__ import annotations

from itertools import product

import pytest

from identity.grants import ANONYMOUS, Action, Principal, allowed, allowed_for_every_tag, write_action
from registry_node.policy import Policy
from registry_node.settings import NodeSettings
from registry_node.settings.virtual import Member
from sites.loopback.placement import logins_of, placements
from sites.permissions.grounds import Asked
from sites.permissions.of_nodes import may
from sites.settings.credentials import users_of
from sites.settings.node_settings import settings_of
from sites.state import StateFolder
from topology.identities import principal
from topology.load import loads
from topology.model import Topology

TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: rights}
sites: {eu: {hosts: {eu-1: {}}}, us: {hosts: {us-1: {}}}}
users:
  ana: {token: {file: dev.token}}
  ci: {robot: true, token: {file: dev.token}}
  ops: {robot: true, token: {file: dev.token}}
groups: {devs: {users: [ana]}, builders: {users: [ci]}}
scopes:
  sandbox:
    class: dev
    grants:
      - {to: devs, allow: [pull, push, delete], repositories: ['apps/**']}
      - {to: ops, allow: [pull], tags: ['1.*']}
      - {to: ci, allow: [pull, delete], sites: [us], tags: ['1.*']}
  robots: {class: ci, write: robots, grants: [{to: everyone, allow: [pull]}, {to: authenticated, allow: [push]}]}
  prod:
    class: prod
    write: promotion-only
    grants: [{to: authenticated, allow: [pull, push]}, {to: ops, allow: [promote, delete]}]
  attic: {class: archive, write: read-only, grants: [{to: ops, allow: [pull, push, delete]}]}
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  sandbox-us: {kind: local, scope: sandbox, role: replica, site: us, host: us-1, port: 5001}
  robots-eu: {kind: local, scope: robots, site: eu, host: eu-1, port: 5002}
  prod-eu: {kind: local, scope: prod, site: eu, host: eu-1, port: 5003}
  attic-eu: {kind: local, scope: attic, site: eu, host: eu-1, port: 5004}
  hub: {kind: external, url: https://registry-1.docker.io}
  quay: {kind: external, url: https://quay.io, auth: {file: quay.login}}
  open-cache: {kind: mirror, upstreams: [hub], repositories: ['library/**', 'apps/**'], site: eu, host: eu-1, port: 5010}
  both-cache: {kind: mirror, upstreams: [hub, quay], site: eu, host: eu-1, port: 5011}
  inner-cache: {kind: mirror, upstreams: [robots-eu, sandbox-eu], site: eu, host: eu-1, port: 5012}
  own-cache:
    kind: mirror
    upstreams: [quay]
    grants: [{to: devs, allow: [pull, delete], repositories: ['apps/**']}]
    site: eu
    host: eu-1
    port: 5013
  all:
    kind: virtual
    members: [sandbox-eu, robots-eu, open-cache]
    owns: {'apps/**': [sandbox-eu, robots-eu], 'library/**': [open-cache]}
    pushTo: sandbox-eu
    site: eu
    host: eu-1
    port: 5020
  loose: {kind: virtual, members: [prod-eu, own-cache], unmatched: members, site: eu, host: eu-1, port: 5021}
  nested: {kind: virtual, members: [all], unmatched: members, pushTo: all, site: eu, host: eu-1, port: 5022}
promotions:
  - {id: release, from: robots, to: prod, by: [builders], repositories: ['apps/**']}
  - {id: keep, from: prod, to: attic}
replications: [{id: over, from: sandbox-eu, to: [sandbox-us], on: event}]
"""
OURS = ("sandbox-eu", "sandbox-us", "robots-eu", "prod-eu", "attic-eu")
MIRRORS, VIRTUALS = ("open-cache", "both-cache", "inner-cache", "own-cache"), ("all", "loose", "nested")
REPOSITORIES, TAGS = ("apps/api", "library/debian", "other"), ("", "1.0", "2.0")


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    base = tmp_path_factory.mktemp("rights")
    (base / "dev.token").write_text("a-token-long-enough\n")
    (base / "quay.login").write_text("robot:secret\n")
    loaded = loads(TOPOLOGY, base=base, rules=False)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


@pytest.fixture(scope="module")
def told(declared: Topology) -> dict[str, NodeSettings]:
    state = StateFolder(declared.base / ".towpath")
    placed = placements(declared, state, users_of(declared), logins_of(declared))
    return {name: settings_of(declared, name, where) for name, where in placed.items()}


def people(topology: Topology) -> list[Principal]:
    return [ANONYMOUS, *(principal(topology, name, "token") for name in topology.users)]


def node_says(settings: NodeSettings, who: Principal, action: Action, repository: str, tag: str) -> bool:
    """As registry_node/access.py asks its policy."""
    policy = Policy.of(settings)
    if action is Action.PUSH:
        return not policy.no_pushes and policy.may_write(who, repository, tag or None)
    if action is Action.DELETE and not tag:
        granted = policy.may_whole(who, action, repository)
    else:
        granted = policy.may(who, action, repository, tag or None)
    return granted and not (action is Action.DELETE and policy.write == "read-only")


def member_says(member: Member, who: Principal, action: Action, repository: str, tag: str) -> bool:
    """As registries/virtual/rights.py does."""
    grants = [each.grant() for each in member.grants or ()]
    if action is Action.PULL:
        return allowed(grants, who, action, repository, tag or None)
    if action is Action.DELETE and not tag:
        return member.write != "read-only" and allowed_for_every_tag(grants, who, action, repository)
    needed = write_action(member.write, who) if action is Action.PUSH else action
    closed = action is Action.DELETE and member.write == "read-only"
    return needed is not None and not closed and allowed(grants, who, needed, repository, tag or None)


CASES = list(product((Action.PULL, Action.PUSH, Action.DELETE), REPOSITORIES, TAGS))


@pytest.mark.parametrize("node", OURS)
def test_a_node_of_a_scope(declared: Topology, told: dict[str, NodeSettings], node: str) -> None:
    answers = set()
    for who, (action, repository, tag) in product(people(declared), CASES):
        verdict = may(declared, node, Asked(who, action, repository, tag))
        assert verdict.allowed == node_says(told[node], who, action, repository, tag), (who, action, repository, tag)
        assert verdict.grounds
        answers.add(verdict.allowed)
    assert answers == {True, False}


@pytest.mark.parametrize("node", MIRRORS)
def test_a_mirror(declared: Topology, told: dict[str, NodeSettings], node: str) -> None:
    mirror = told[node].mirror
    assert mirror is not None
    for who, (action, repository, tag) in product(people(declared), CASES):
        mirrored = mirror.repositories == ("**",) or repository != "other"
        says = mirrored and node_says(told[node], who, action, repository, tag)
        assert may(declared, node, Asked(who, action, repository, tag)).allowed == says, (who, action, repository, tag)


@pytest.mark.parametrize("node", VIRTUALS)
def test_a_virtual(declared: Topology, told: dict[str, NodeSettings], node: str) -> None:
    from registry_node.registries.virtual.routing import way

    virtual = told[node].virtual
    assert virtual is not None
    members = {each.name: each for each in virtual.members}
    for who, (action, repository, tag) in product(people(declared), CASES):
        names = way(virtual, repository).members
        if action is not Action.PULL:
            names = (virtual.push_to,) if virtual.push_to in names else ()  # type: ignore[assignment]
        inside = any(member_says(members[name], who, action, repository, tag) for name in names)
        says = inside and node_says(told[node], who, action, repository, tag)
        assert may(declared, node, Asked(who, action, repository, tag)).allowed == says, (who, action, repository, tag)


@pytest.mark.parametrize(
    ("who", "repository", "allowed", "says"),
    [
        ("ci", "apps/api", True, "edge release from robots: builders may ask for it"),
        ("ops", "apps/api", False, "edge release from robots: builders may ask for it"),
        ("ci", "other", False, "no edge leads into prod for other"),
    ],
)
def test_promote_is_to_ask_for_an_edge(declared: Topology, who: str, repository: str, allowed: bool, says: str) -> None:
    found = may(declared, "prod-eu", Asked(principal(declared, who, "token"), Action.PROMOTE, repository))
    assert (found.allowed, [each.text for each in found.grounds]) == (allowed, [says])


def test_nobody_is_named_for_an_edge(declared: Topology) -> None:
    found = may(declared, "attic-eu", Asked(principal(declared, "ops", "token"), Action.PROMOTE, "apps/api"))
    assert (found.allowed, found.grounds[0].text) == (False, "edge keep from prod: nobody may ask for it")


def test_only_an_edge_leads_into_a_promotion_only_scope(declared: Topology) -> None:
    found = may(declared, "prod-eu", Asked(principal(declared, "ci", "token"), Action.PUSH, "apps/api", "1.0"))
    assert not found.allowed
    assert [(each.text, each.path) for each in found.grounds] == [
        ("prod is promotion-only: images come over an edge", ("scopes", "prod", "write")),
        ("edge release from robots: builders may ask for it", ("promotions", 0)),
    ]
