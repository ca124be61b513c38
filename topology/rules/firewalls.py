"""Firewalls that let everybody in, or that may shut out hosts of our own: S13, S14."""

from __future__ import annotations

from collections.abc import Iterator

from topology.findings import Breach
from topology.model import Firewall
from topology.rules.subject import Subject

_Path = tuple[str | int, ...]


def lets_everybody_in(subject: Subject) -> Iterator[Breach]:
    """S13."""
    for path, firewall in _firewalls(subject):
        for index, network in enumerate(firewall.allow):
            if network.prefixlen == 0:
                yield Breach(
                    (*path, "allow", index),
                    f"the firewall lets in {network}, which is everybody",
                    "name the networks of those who pull and push, or leave the firewall out",
                )


def known_by_name_alone(subject: Subject) -> Iterator[Breach]:
    """S14. At the host that a packet filter cannot know."""
    if not any(_firewalls(subject)):
        return
    for site, each in subject.topology.sites.items():
        for name, host in each.hosts.items():
            if host.ssh and not host.numbers:
                yield Breach(
                    ("sites", site, "hosts", name, "ssh"),
                    f"host `{name}` is known by a name alone: firewalls of other hosts let it in only by their `allow`",
                    "write its address into `ssh` or `address`, or see that `allow` covers it",
                )


def _firewalls(subject: Subject) -> Iterator[tuple[_Path, Firewall]]:
    for site, each in subject.topology.sites.items():
        if each.firewall:
            yield ("sites", site, "firewall"), each.firewall
        for name, host in each.hosts.items():
            if host.firewall:
                yield ("sites", site, "hosts", name, "firewall"), host.firewall
