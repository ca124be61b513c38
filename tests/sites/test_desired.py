"""What a host must have: units, credentials and certificates of every kind of node."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites import layout
from sites.desired import DesiredNode
from tests.sites import deployed


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
    assert "ExecStart=/usr/bin/python3 -P -m towpath serve --settings /etc/towpath/sandbox-1/settings.json" in lines
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
    assert "ReadWritePaths=-/var/lib/towpath/ci-2" in unit(node)


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
