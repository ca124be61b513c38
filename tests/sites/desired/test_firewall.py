"""The packet filter of a host: who is let in, and that nothing else is judged."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from sites.desired import layout
from sites.desired.firewall import admitted, chain_of, lets_in, rules
from sites.desired.hosts import DesiredHost
from sites.planning.actions import PutFile
from tests.sites import deployed
from tests.sites.deployed import FIREWALL


def networks(*written: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in written)


@pytest.fixture
def host(tmp_path: Path) -> DesiredHost:
    base = deployed.folder(tmp_path)
    return deployed.hosts(deployed.topology(base, FIREWALL), base)["eu-2"]


def test_hosts_of_the_topology_are_let_in_beside_what_is_allowed(tmp_path: Path) -> None:
    declared = deployed.topology(tmp_path, FIREWALL)
    assert admitted(declared, "eu", "eu-1") == networks("10.1.0.11/32", "10.1.0.12/32", "192.168.7.0/24", "fd00::/8")


def test_a_host_s_firewall_stands_in_place_of_its_site_s(tmp_path: Path) -> None:
    own = ("failureDomain: a}", "failureDomain: a, firewall: {allow: [10.1.0.0/16]}}")
    declared = deployed.topology(tmp_path, FIREWALL, own)
    assert admitted(declared, "eu", "eu-1") == networks("10.1.0.0/16"), "the sisters lie within it"
    assert admitted(declared, "eu", "eu-2") == networks("10.1.0.11/32", "10.1.0.12/32", "192.168.7.0/24", "fd00::/8")


def test_an_ipv6_host_is_let_in_too(tmp_path: Path) -> None:
    declared = deployed.topology(tmp_path, FIREWALL, ("deploy@10.1.0.11", "'deploy@[2001:db8::11]:22'"))
    assert ipaddress.ip_network("2001:db8::11/128") in (admitted(declared, "eu", "eu-2") or ())


def test_no_firewall_is_declared_and_none_is_laid_down(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    found = deployed.hosts(deployed.topology(base), base)["eu-1"]
    assert found.admitted is None
    assert [each.name for each in found.parts] == ["logs"]


def test_the_table_judges_the_ports_of_this_host_s_nodes_and_drops_the_rest(host: DesiredHost) -> None:
    (part,) = (each for each in host.parts if each.name == "firewall")
    text = part.files[0].content.decode()
    assert "flush" not in text, "other tables are others'"
    assert "\ntable inet towpath\ndelete table inet towpath\ntable inet towpath {" in text, "gone and anew at once"
    judged = next(line.strip() for line in text.splitlines() if "dport" in line)
    assert judged == f"tcp dport {{ 5001, 5002, 5010, 5020 }} jump {part.loaded.split()[1]}"
    assert "elements = { 10.1.0.11/32, 10.1.0.12/32, 192.168.7.0/24 }" in text
    assert "type filter hook input priority filter; policy accept;" in text
    assert text.count(" drop\n") == 1 and text.index(part.loaded) < text.index(" drop\n")


def test_a_set_without_networks_has_no_elements() -> None:
    text = rules([5001], networks("10.0.0.0/8"))
    assert text.count("elements") == 1
    assert "set admitted6" in text


def test_other_rules_have_another_chain() -> None:
    one = chain_of([5001], networks("10.0.0.0/8"))
    assert one == chain_of([5001], networks("10.0.0.0/8"))
    assert len({one, chain_of([5002], networks("10.0.0.0/8")), chain_of([5001], networks("10.0.0.0/9"))}) == 3


def test_nft_must_take_the_file_before_it_stands_there(host: DesiredHost) -> None:
    (part,) = (each for each in host.parts if each.name == "firewall")
    file = next(each for each in part.files if each.path == str(layout.FIREWALL))
    assert PutFile(file).told()["check"] == ["/usr/sbin/nft", "--check", "--file"]


def test_the_unit_comes_back_after_whoever_flushes_everything(host: DesiredHost) -> None:
    (part,) = (each for each in host.parts if each.name == "firewall")
    lines = part.files[1].content.decode().splitlines()
    assert part.files[1].path == "/etc/systemd/system/towpath-firewall.service"
    assert {
        "After=local-fs.target nftables.service",
        "PartOf=nftables.service",
        "ReloadPropagatedFrom=nftables.service",
        "WantedBy=sysinit.target nftables.service",
        "ExecStop=-/usr/sbin/nft delete table inet towpath",
    } <= set(lines)


@pytest.mark.parametrize(
    ("address", "within"),
    [("10.3.4.5", True), ("11.3.4.5", False), ("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", False)],
)
def test_who_is_let_in(address: str, within: bool) -> None:
    assert lets_in(networks("10.0.0.0/8"), address) is within
