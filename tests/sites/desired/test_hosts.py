"""What a host must have: units, credentials and certificates of every kind of node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sites.desired import layout
from sites.desired.hosts import DesiredNode
from sites.planning.actions import Action
from sites.planning.host_plan import HostPlan
from sites.planning.plan import host_plan
from tests.sites import deployed
from topology.load import loads


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, DesiredNode]:
    base = deployed.folder(tmp_path)
    return {node.name: node for host in deployed.hosts(deployed.topology(base), base).values() for node in host.nodes}


def unit(node: DesiredNode) -> list[str]:
    (file,) = (each for each in node.files if each.path == str(layout.unit_file(node.name)))
    return file.content.decode().splitlines()


def test_a_local_node(nodes: dict[str, DesiredNode]) -> None:
    node = nodes["sandbox-1"]
    assert (node.settings.listen.host, node.settings.listen.port) == ("0.0.0.0", 5001)
    assert str(node.settings.data) == "/var/lib/towpath/sandbox-1"
    assert node.settings.tls is not None
    assert str(node.settings.tls.key) == "/run/credentials/towpath-sandbox-1.service/tls.key"
    lines = unit(node)
    assert "LoadCredential=tls.key:/etc/towpath/sandbox-1/credentials/tls.key" in lines
    assert "ExecStart=/usr/bin/python3 -P -m registry_node --settings /etc/towpath/sandbox-1/settings.json" in lines
    assert "StateDirectory=towpath/sandbox-1" in lines
    assert {"Type=notify", "WatchdogSec=30", "NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateUsers=yes"} <= set(
        lines
    )
    assert not [each for each in lines if each.startswith("ReadWritePaths")]


def test_secrets_are_root_s_alone(nodes: dict[str, DesiredNode]) -> None:
    secret = {each.path: each for node in nodes.values() for each in node.files if each.secret}
    assert set(secret) == {
        *(f"/etc/towpath/{node}/credentials/tls.key" for node in nodes),
        "/etc/towpath/hub-2/credentials/robot",
        "/etc/towpath/all-2/credentials/robot",
    }
    assert {(each.mode, each.owner, each.group) for each in secret.values()} == {(0o600, "root", "root")}
    public = b"".join(each.content for node in nodes.values() for each in node.files if not each.secret)
    assert b"canary-token" not in public and b"PRIVATE KEY" not in public


def test_a_virtual_asks_its_members_over_tls_as_its_robot(nodes: dict[str, DesiredNode]) -> None:
    node = nodes["all-2"]
    assert node.settings.virtual is not None
    member = node.settings.virtual.members[0]
    assert (member.name, member.url) == ("ci-2", "https://10.1.0.12:5002")
    assert str(member.ca) == "/etc/towpath/all-2/ci-2.ca.crt"
    assert member.credentials is not None
    assert str(member.credentials.file) == "/run/credentials/towpath-all-2.service/robot"
    assert "/etc/towpath/all-2/ci-2.ca.crt" in [each.path for each in node.files]


def reads_at_once(node: DesiredNode) -> list[str]:
    opened = [each for each in unit(node) if each.startswith("ReadWritePaths=")]
    return [each.removeprefix("ReadWritePaths=-/var/lib/towpath/") for each in opened]


def test_no_node_gets_at_data_that_it_does_not_read(nodes: dict[str, DesiredNode], tmp_path: Path) -> None:
    assert reads_at_once(nodes["all-2"]) == ["ci-2", "hub-2"], "its members, not sandbox-2"
    assert reads_at_once(nodes["hub-2"]) == ["sandbox-2", "ci-2"], "its neighbours, not all-2"
    base = deployed.folder(tmp_path)
    for named, wanted in (("[]", []), ("[ci-2]", ["ci-2"])):
        declared = deployed.topology(base, ("upstreams: [hub],", f"upstreams: [hub], neighbours: {named},"))
        made = {each.name: each for each in deployed.hosts(declared, base)["eu-2"].nodes}
        assert reads_at_once(made["hub-2"]) == wanted


def test_a_low_port_comes_with_the_capability_to_bind_it(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    declared = deployed.topology(base, ("host: eu-1, port: 5001", "host: eu-1, port: 443"))
    lines = unit(deployed.hosts(declared, base)["eu-1"].nodes[0])
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in lines
    assert "PrivateUsers=yes" not in lines


def test_a_node_at_a_loopback_address_stays_there(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    declared = deployed.topology(base, ("deploy@10.1.0.11", "deploy@127.0.0.1"))
    assert deployed.hosts(declared, base)["eu-1"].nodes[0].settings.listen.host == "127.0.0.1"


HOSTILE = ["$(touch /tmp/owned)", "`touch /tmp/owned`", "; touch /tmp/owned;", "{{ 7 * 7 }}", "x\nExecStart=/bin/owned"]


@pytest.mark.attack("A-topology-inert")
@pytest.mark.parametrize("hostile", HOSTILE)
def test_free_text_of_a_topology_reaches_settings_alone(tmp_path: Path, hostile: str) -> None:
    """As one JSON string among others: no command line, no unit, no path, no name of a credential holds it."""
    base, written = deployed.folder(tmp_path), json.dumps(hostile)
    declared = deployed.topology(
        base,
        ("metadata: {name: deployed}", f"metadata: {{name: deployed, owner: {written}, labels: {{x: {written}}}}}"),
        ("failureDomain: a}", f"failureDomain: {written}, owner: {written}}}"),
        ("    class: dev\n", f"    class: dev\n    owner: {written}\n    requireLabels: [{written}]\n"),
        ("users:\n  dev: {", f"users:\n  dev: {{owner: {written}, "),
    )
    host = deployed.hosts(declared, base)["eu-1"]
    (node,) = host.nodes
    assert node.settings.rules.require_labels == (hostile,)
    holding = [each.path for each in node.files if hostile.encode() in each.content or written.encode() in each.content]
    assert holding == [str(layout.settings("sandbox-1"))]
    plan = host_plan(host, deployed.facts())
    commands = [each.command for part in (plan.prepare, node_actions(plan), plan.finish) for each in part]
    assert not [each for each in commands if "owned" in each or "7 * 7" in each]
    paths = [each.path for each in (*node.files, *node.directories)]
    assert not [each for each in paths if "owned" in each]


def node_actions(plan: HostPlan) -> tuple[Action, ...]:
    return tuple(action for node in plan.nodes for action in node.actions)


@pytest.mark.attack("A-topology-inert")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("eu-1: {ssh: deploy@10.1.0.11", "'eu;1': {ssh: deploy@10.1.0.11"),
        ("ssh: deploy@10.1.0.11", "ssh: '-oProxyCommand=touch@10.1.0.11'"),
        ("ssh: deploy@10.1.0.11", "ssh: 'deploy@$(touch owned)'"),
        ("sandbox-1: {kind", "'sandbox-1\\n': {kind"),
        ("{ssh: deploy@10.1.0.11", "{hostKey: 'ssh-ed25519 AAAA\\n* ssh-rsa BBBB', ssh: deploy@10.1.0.11"),
    ],
)
def test_names_and_addresses_are_refused_by_their_grammar(tmp_path: Path, before: str, after: str) -> None:
    assert before in deployed.TOPOLOGY
    loaded = loads(deployed.TOPOLOGY.replace(before, after), base=tmp_path)
    assert [each.code for each in loaded.errors]
