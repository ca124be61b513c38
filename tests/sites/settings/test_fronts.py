"""Mirrors and virtuals from the topology: what they are told, whom they let in, and by which robots they ask."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.grants import ANYBODY, AUTHENTICATED, Action, WritePolicy
from registry_node.settings import GrantSettings, Mirror, NodeSettings, Virtual
from sites.hosts import HostErrors
from sites.loopback.placement import logins_of, placements
from sites.settings.credentials import ENGINE, robot_of, users_of
from sites.settings.node_grants import grants_at
from sites.settings.node_settings import settings_of
from sites.state import StateFolder
from topology.load import load, loads
from topology.model import Topology

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
HEAD = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: fronts}
sites: {eu: {hosts: {eu-1: {}, eu-2: {}}}}
users:
  dev: {robot: true, token: {file: dev.token}}
  ops: {robot: true, token: {file: dev.token}}
groups: {devs: {users: [dev]}}
scopes:
  apps: {class: ci, grants: [{to: devs, allow: [pull, push, delete]}, {to: ops, allow: [pull]}]}
  open: {class: ci, grants: [{to: everyone, allow: [pull]}, {to: ops, allow: [push]}], write: robots}
  released: {class: ci, grants: [{to: ops, allow: [pull]}], write: promotion-only}
nodes:
  hub: {kind: external, url: https://registry-1.docker.io, budget: {pulls: 100, per: 6h}, bandwidth: 80Mbit, connections: 4}
  quay: {kind: external, url: https://quay.io, auth: {file: quay.login}, namespace: acme, realms: [login.quay.io]}
  art: {kind: external, url: https://art.example/artifactory, basePath: /api/docker/key, hosts: [art.example], private: true}
  apps-eu: {kind: local, scope: apps, site: eu, host: eu-1, port: 5001}
  open-eu: {kind: local, scope: open, site: eu, host: eu-2, port: 5001}
  released-eu: {kind: local, scope: released, site: eu, host: eu-1, port: 5003}
"""
HUB = "  hub-cache: {kind: mirror, upstreams: [hub], site: eu, host: eu-1, port: 5010}\n"
QUAY = "  quay-cache: {kind: mirror, upstreams: [quay, hub], site: eu, host: eu-1, port: 5011}\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "dev.token").write_text("a-token-long-enough\n")
    (tmp_path / "quay.login").write_text("robot:canary-secret\n")
    return tmp_path


def topology(base: Path, *nodes: str) -> Topology:
    loaded = loads(HEAD + "".join(nodes), base=base)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def told(declared: Topology) -> dict[str, NodeSettings]:
    state = StateFolder(declared.base / ".towpath")
    placed = placements(declared, state, users_of(declared), logins_of(declared))
    return {name: settings_of(declared, name, where) for name, where in placed.items()}


def mirror(settings: NodeSettings) -> Mirror:
    assert settings.mirror is not None
    return settings.mirror


def virtual(settings: NodeSettings) -> Virtual:
    assert settings.virtual is not None
    return settings.virtual


def pulls(grants: tuple[GrantSettings, ...]) -> set[str]:
    return {each.to for each in grants if Action.PULL in each.allow and each.to != ENGINE and "node-" not in each.to}


def test_an_external_registry_as_an_upstream(base: Path) -> None:
    found = told(
        topology(base, "  m: {kind: mirror, upstreams: [hub, quay, art], site: eu, host: eu-1, port: 5010}\n")
    )["m"]
    hub, quay, art = mirror(found).upstreams
    assert (found.kind, found.scope, found.virtual) == ("mirror", "m", None)
    assert hub.official_images and hub.realms == ("auth.docker.io",) and hub.credentials is None
    assert hub.hosts == ("docker.io", "index.docker.io", "registry-1.docker.io")
    assert hub.budget is not None and (hub.budget.pulls, hub.budget.seconds) == (100, 6 * 3600)
    assert (hub.connections, hub.bytes_per_second) == (4, 10_000_000)
    assert (quay.namespace, quay.realms, quay.official_images) == ("acme", ("login.quay.io",), False)
    assert quay.hosts == (), "quay.io is more than this namespace of it"
    assert (art.url, art.base_path, art.hosts) == (
        "https://art.example",
        "/artifactory/api/docker/key",
        ("art.example",),
    )
    assert (hub.private, art.private) == (False, True)


def test_what_is_declared_reaches_a_mirror_and_what_is_not_keeps_the_nodes_defaults(base: Path) -> None:
    declared = topology(
        base,
        HUB,
        "  m: {kind: mirror, site: eu, host: eu-1, port: 5012, upstreams: [{node: hub, repositories: ['library/**'],"
        " deny: ['library/evil']}], repositories: ['library/**'], deny: ['x/**'], tagTtl: none, negativeTtl: 5s,"
        " serveStale: 2d, keepDeleted: false, onOutage: next, maxBytes: 1GiB, answerWithin: 2s, finishShare: 25%,"
        " foreignLayers: {allow: ['https://**.example.com/layers/**']}, neighbours: none}\n",
    )
    plain, full = mirror(told(declared)["hub-cache"]), mirror(told(declared)["m"])
    default = Mirror(upstreams=plain.upstreams, neighbours=plain.neighbours)
    assert plain == default
    assert (full.repositories, full.deny) == (("library/**",), ("x/**",))
    assert (full.upstreams[0].repositories, full.upstreams[0].deny) == (("library/**",), ("library/evil",))
    assert (full.tag_seconds, full.negative_seconds, full.stale_seconds) == (0, 5, 2 * 86400)
    assert (full.keep_deleted, full.on_outage, full.max_bytes) == (False, "next", 2**30)
    assert (full.answer_seconds, full.finish_share) == (2, 0.25)
    assert full.foreign_layers == ("https://**.example.com/layers/**",)
    assert full.neighbours == ()


def test_neighbours_are_the_local_nodes_of_the_same_host_with_their_grants(base: Path) -> None:
    declared = topology(
        base, HUB, "  m: {kind: mirror, upstreams: [hub], neighbours: [apps-eu], site: eu, host: eu-1, port: 5012}\n"
    )
    found = told(declared)
    assert [each.name for each in mirror(found["hub-cache"]).neighbours] == ["apps-eu", "released-eu"]
    (one,) = mirror(found["m"]).neighbours
    assert one.data == found["apps-eu"].data
    assert pulls(one.grants) == {"devs", "ops"}
    assert ENGINE not in {each.to for each in one.grants}


@pytest.mark.parametrize(
    ("upstreams", "who"),
    [
        ("[hub]", {ANYBODY}),
        ("[quay]", {AUTHENTICATED}),
        ("[hub, quay]", {AUTHENTICATED}),
        ("[hub, apps-eu]", {"devs", "ops"}),
        ("[apps-eu, released-eu]", {"ops"}),
        ("[quay, open-eu]", {AUTHENTICATED}),
    ],
)
def test_a_mirror_lets_in_whoever_may_pull_at_every_upstream(base: Path, upstreams: str, who: set[str]) -> None:
    declared = topology(base, f"  m: {{kind: mirror, upstreams: {upstreams}, site: eu, host: eu-1, port: 5012}}\n")
    assert pulls(told(declared)["m"].grants) == who


def test_a_mirrors_own_grants_are_in_place_of_that(base: Path) -> None:
    grants = "grants: [{to: devs, repositories: ['library/**']}, {to: ops, allow: [pull, delete]}]"
    declared = topology(base, f"  m: {{kind: mirror, upstreams: [hub], {grants}, site: eu, host: eu-1, port: 5012}}\n")
    own = told(declared)["m"].grants[:2]
    assert own[0] == GrantSettings(to="devs", allow=(Action.PULL,), repositories=("library/**",))
    assert own[1].allow == (Action.PULL, Action.DELETE)


def test_a_login_lies_in_a_file_for_its_owner_alone_and_nowhere_else(base: Path) -> None:
    found = told(topology(base, QUAY, HUB))
    credentials = mirror(found["quay-cache"]).upstreams[0].credentials
    assert credentials is not None and credentials.file is not None
    assert credentials.file.read_text() == "robot:canary-secret\n"
    assert stat.S_IMODE(credentials.file.stat().st_mode) == 0o600
    assert all("canary" not in each.model_dump_json() for each in found.values())
    assert (
        len([each for each in (base / ".towpath").rglob("*") if each.is_file() and b"canary" in each.read_bytes()]) == 1
    )


def test_a_login_that_is_no_longer_needed_goes(base: Path) -> None:
    told(topology(base, QUAY))
    file = base / ".towpath" / "nodes" / "quay-cache" / "logins" / "quay"
    before = file.stat().st_ino
    told(topology(base, QUAY))
    assert file.stat().st_ino == before, "the same login is not written anew"
    (base / "quay.login").write_text("robot:another\n")
    told(topology(base, QUAY))
    assert file.read_text() == "robot:another\n"
    told(topology(base, QUAY.replace("[quay, hub]", "[hub]")))
    assert not file.exists()


def test_a_login_that_is_none(base: Path) -> None:
    (base / "quay.login").write_text("canary-token-alone\n")
    with pytest.raises(HostErrors) as raised:
        logins_of(topology(base, QUAY))
    assert [each.code for each in raised.value.errors] == ["not-a-login"]
    assert "canary" not in str(raised.value)


FRONT = (
    "  all: {kind: virtual, members: [apps-eu, open-eu, hub-cache, art], owns: {'apps/**': [apps-eu], 'open/**': [open-eu],"
    " 'library/**': [hub-cache], 'art/**': [art]}, resolve: newest, pushTo: apps-eu, answerWithin: 3s, site: eu, host: eu-1,"
    " port: 5020}\n"
)


def test_a_virtual_and_its_members(base: Path) -> None:
    found = told(topology(base, HUB, FRONT))
    front = virtual(found["all"])
    apps, opened, cache, art = front.members
    assert [each.kind for each in front.members] == ["local", "local", "mirror", "remote"]
    assert (apps.data, cache.data) == (found["apps-eu"].data, found["hub-cache"].data)
    assert opened.data is None, "it stands on another host"
    assert (apps.write, opened.write, cache.write, art.write) == (
        WritePolicy.OPEN,
        WritePolicy.ROBOTS,
        WritePolicy.READ_ONLY,
        WritePolicy.READ_ONLY,
    )
    assert apps.url == "http://127.0.1.1:5001" and art.base_path == "/artifactory/api/docker/key"
    assert (front.owns[0].repositories, front.owns[0].members) == ("apps/**", ("apps-eu",))
    assert (front.unmatched, front.resolve, front.push_to, front.answer_seconds) == ("deny", "newest", "apps-eu", 3)
    assert pulls(apps.grants or ()) == {"devs", "ops"} and pulls(art.grants or ()) == {ANYBODY}
    assert pulls(found["all"].grants) == {"devs", "ops", ANYBODY}


def test_a_virtual_asks_as_a_robot_of_its_own(base: Path) -> None:
    found = told(topology(base, HUB, FRONT))
    robot = robot_of("all")
    for name in ("apps-eu", "open-eu", "hub-cache"):
        assert found[name].users[robot].robot
        (grant,) = (each for each in found[name].grants if each.to == robot)
        assert set(grant.allow) == ({Action.PULL, Action.PUSH, Action.DELETE} if name == "apps-eu" else {Action.PULL})
    assert robot not in found["released-eu"].users, "nobody asks that node through it"
    credentials = virtual(found["all"]).members[0].credentials
    assert credentials is not None and credentials.file is not None
    name, _, token = credentials.file.read_text().strip().partition(":")
    assert name == robot and len(token) >= 32
    assert stat.S_IMODE(credentials.file.stat().st_mode) == 0o600
    assert token not in "".join(each.model_dump_json() for each in found.values())
    assert told(topology(base, HUB, FRONT)) == found, "the second time, nothing is new"


def test_a_promotion_only_scope_stays_closed_to_a_virtual(base: Path) -> None:
    owns = "owns: {'a/**': [released-eu]}, pushTo: released-eu"
    nodes = f"  v: {{kind: virtual, members: [released-eu], {owns}, site: eu, host: eu-1, port: 5021}}\n"
    found = loads(HEAD + nodes, base=base)
    assert [each.code for each in found.findings] == ["G4"]
    assert found.topology is not None
    settings = told(found.topology)
    (grant,) = (each for each in settings["released-eu"].grants if each.to == robot_of("v"))
    assert grant.allow == (Action.PULL,)
    assert virtual(settings["v"]).members[0].write is WritePolicy.PROMOTION_ONLY


def test_a_virtual_within_a_virtual_lets_in_only_who_may_see_all_that_could_answer(base: Path) -> None:
    declared = topology(
        base,
        "  inner: {kind: virtual, members: [apps-eu, released-eu, open-eu], owns: {'apps/secret/**': [released-eu],"
        " 'apps/**': [apps-eu], 'open/**': [open-eu]}, pushTo: apps-eu, site: eu, host: eu-1, port: 5021}\n"
        "  outer: {kind: virtual, members: [inner], owns: {'**': [inner]}, pushTo: inner, site: eu, host: eu-1,"
        " port: 5022}\n",
    )
    grants = grants_at(declared, "inner", "eu")
    assert {(each.to, each.repositories) for each in grants if Action.PULL in each.allow} == {
        ("ops", ("apps/secret/**",)),
        ("ops", ("apps/**",)),
        (ANYBODY, ("open/**",)),
    }
    assert {each.to for each in grants if Action.PUSH in each.allow} == {"devs"}
    found = told(declared)
    (member,) = virtual(found["outer"]).members
    assert member.write is WritePolicy.OPEN and member.grants is not None
    inside = {each.to for member in virtual(found["inner"]).members for each in member.grants or ()}
    assert robot_of("outer") in inside, "the outer one has judged its caller, and asks as itself"


def test_a_user_may_not_have_the_name_of_a_robot(base: Path) -> None:
    for section in ("users", "groups"):
        what = {"users": "node-all: {robot: true, token: {file: dev.token}}", "groups": "node-all: {users: [dev]}"}[
            section
        ]
        text = HEAD.replace("  dev: {robot", f"  {what}\n  dev: {{robot", 1)
        if section == "groups":
            text = HEAD.replace("groups: {", f"groups: {{{what}, ")
        loaded = loads(text + HUB + FRONT, base=base)
        assert loaded.topology is not None
        with pytest.raises(HostErrors, match="node-all"):
            users_of(loaded.topology)


def long_names() -> Iterator[str]:
    yield "a" * 63
    yield "a" * 62 + "b"


def test_a_robots_name_fits_and_is_its_own() -> None:
    robots = [robot_of(each) for each in long_names()]
    assert len(set(robots)) == 2 and all(len(each) == 63 for each in robots)


def test_acme_s_fronts_can_be_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    declared = load(EXAMPLES / "acme" / "topology.yaml").topology
    assert declared is not None
    monkeypatch.setenv("HUB", "acme:token")
    monkeypatch.setenv("QUAY", "acme:token")
    placed = placements(declared, StateFolder(tmp_path), {}, logins_of(declared))
    found = {name: settings_of(declared, name, where) for name, where in placed.items()}
    assert list(found)[-4:] == ["hub-mirror-eu", "prod-eu", "prod-us", "ci-eu"], "what is asked starts before who asks"
    assert (pulls(found["prod-eu"].grants), pulls(found["prod-us"].grants)) == (
        {"prod-eu-pullers"},
        {"prod-us-pullers"},
    )
    assert pulls(found["hub-mirror-eu"].grants) == {"ci", "devs"}
    assert [each.name for each in virtual(found["ci-eu"]).members] == [
        "ci-snapshots-eu",
        "ci-tests-eu",
        "hub-mirror-eu",
    ]
