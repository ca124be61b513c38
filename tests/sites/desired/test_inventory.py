"""Hosts from the topology: how each is reached, and by which key it is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from sites.desired.inventory import addresses_of, deployed_to_hosts, known_hosts, parsed, targets_of
from sites.hosts import HostErrors
from sites.settings.addresses import Address
from tests.sites import deployed

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("deploy@10.1.0.11", ("deploy", "10.1.0.11", 22)),
        ("eu-1.example:2222", ("", "eu-1.example", 2222)),
        ("root@[fd00::1]:22", ("root", "fd00::1", 22)),
        ("[fd00::1]", ("", "fd00::1", 22)),
    ],
)
def test_what_ssh_says(written: str, meant: tuple[str, str, int]) -> None:
    assert parsed(written) == meant


def test_nodes_start_after_those_that_they_ask(tmp_path: Path) -> None:
    targets = targets_of(deployed.topology(tmp_path))
    assert targets["eu-1"].nodes == ("sandbox-1",)
    assert targets["eu-2"].nodes == ("sandbox-2", "ci-2", "hub-2", "all-2")
    assert (targets["eu-2"].known_as, targets["eu-1"].known_as) == ("[10.1.0.12]:2222", "10.1.0.11")


def test_addresses_are_those_of_the_hosts(tmp_path: Path) -> None:
    declared = deployed.topology(tmp_path, ("eu-1: {ssh", "eu-1: {address: eu-1.example, ssh"))
    found = addresses_of(declared)
    assert found["sandbox-1"].url == "https://eu-1.example:5001"
    assert found["ci-2"] == Address("10.1.0.12", 5002, tls=True)
    assert Address("fd00::1", 5000).url == "http://[fd00::1]:5000"


def test_every_host_without_a_way_is_told_at_once(tmp_path: Path) -> None:
    text = (("{ssh: deploy@10.1.0.11, ", "{"), ("{ssh: 'deploy@10.1.0.12:2222', ", "{"))
    declared = deployed.topology(tmp_path, *text)
    assert not deployed_to_hosts(declared)
    with pytest.raises(HostErrors) as refused:
        targets_of(declared)
    assert [(each.code, each.where) for each in refused.value.errors] == [
        ("host-without-ssh", "sites.eu.hosts.eu-1"),
        ("host-without-ssh", "sites.eu.hosts.eu-2"),
    ]


def test_one_name_for_two_hosts_is_refused(tmp_path: Path) -> None:
    declared = deployed.topology(
        tmp_path,
        ("users:\n", "  us: {hosts: {eu-1: {ssh: 10.2.0.1}}}\nusers:\n"),
        (
            "  ci-2: {kind: local, scope: ci, site: eu, host: eu-2",
            "  ci-2: {kind: local, scope: ci, site: us, host: eu-1",
        ),
    )
    with pytest.raises(HostErrors) as refused:
        targets_of(declared)
    assert [each.code for each in refused.value.errors] == ["host-name-twice"]


def test_a_key_in_the_topology_is_the_only_one_that_counts(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text("10.1.0.11 ssh-ed25519 OLD\n10.1.0.11,eu-1 ssh-rsa OLD\n[10.1.0.12]:2222 ssh-ed25519 KEPT\n")
    targets = targets_of(
        deployed.topology(tmp_path, ("{ssh: deploy@10.1.0.11,", f"{{hostKey: '{KEY}', ssh: deploy@10.1.0.11,"))
    )
    assert known_hosts(targets, file) == f"10.1.0.11 {KEY}\n[10.1.0.12]:2222 ssh-ed25519 KEPT\n"
    assert known_hosts(targets, tmp_path / "missing") == f"10.1.0.11 {KEY}\n"
