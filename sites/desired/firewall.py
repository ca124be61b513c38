"""A host's packet filter: a table of our own that judges the ports of our nodes and nothing else (nft(8)).

Other tables are never touched; what they drop stays dropped. See docs/decisions/0019.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from sites.desired import layout
from sites.desired.files import File, Part
from sites.texts import text_of
from topology.firewalls import IpNetwork
from topology.model import Placed, Topology
from topology.proxies import public_address

NAME = "firewall"
_CHECK = ("/usr/sbin/nft", "--check", "--file")


def admitted(topology: Topology, site: str, host: str) -> tuple[IpNetwork, ...] | None:
    """The networks that may reach the nodes of a host: those that its firewall allows, and every host of the topology
    that is known by an address. None: no firewall is declared, and nothing is laid down."""
    declared = topology.sites[site].hosts[host].firewall or topology.sites[site].firewall
    return None if declared is None else _merged((*declared.allow, *_sisters(topology)))


def part(topology: Topology, nodes: Sequence[str], networks: Sequence[IpNetwork]) -> Part:
    """``nodes``: of the host; at their own ports, and at those of the proxy in front of them."""
    own = {node.port for name in nodes if isinstance(node := topology.nodes[name], Placed)}
    ports = sorted(own | {public.port for name in nodes if (public := public_address(topology, name))})
    unit = _text("firewall.service.j2", rules=layout.FIREWALL, table=layout.TABLE)
    files = (
        File(str(layout.FIREWALL), rules(ports, networks).encode(), check=_CHECK),
        File(str(layout.UNITS / layout.FIREWALL_UNIT), unit),
        File(str(layout.FIREWALL_AGAIN), _text("firewall-again.conf.j2", rules=layout.FIREWALL)),
    )
    return Part(NAME, files, unit=layout.FIREWALL_UNIT, guards=True, loaded=f"chain {chain_of(ports, networks)} ")


def chain_of(ports: Iterable[int], networks: Iterable[IpNetwork]) -> str:
    """The chain that judges: named by what it lets in, so that the table itself tells which rules are loaded."""
    return f"nodes_{hashlib.sha256(repr([*ports, *map(str, networks)]).encode()).hexdigest()[:12]}"


def rules(ports: Sequence[int], networks: Sequence[IpNetwork]) -> str:
    """The file that ``nft -f`` reads: in one transaction our table is gone and there anew."""
    four, six = ([str(each) for each in networks if each.version == version] for version in (4, 6))
    chain = chain_of(ports, networks)
    return _text("firewall.nft.j2", table=layout.TABLE, chain=chain, ports=ports, four=four, six=six).decode()


def lets_in(networks: Sequence[IpNetwork], address: str) -> bool:
    """Whether the table accepts this address at the nodes' ports. Raises ValueError for no address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_loopback or any(found in each for each in networks)


def _sisters(topology: Topology) -> Iterator[IpNetwork]:
    for site in topology.sites.values():
        for host in site.hosts.values():
            yield from (ipaddress.ip_network(each) for each in host.numbers)


def _merged(networks: Iterable[IpNetwork]) -> tuple[IpNetwork, ...]:
    """Sorted, none within another: an nft set holds no intervals that overlap."""
    both = tuple(networks)
    four = ipaddress.collapse_addresses(each for each in both if isinstance(each, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(each for each in both if isinstance(each, ipaddress.IPv6Network))
    return (*four, *six)


def _text(template: str, **values: object) -> bytes:
    return (text_of(template, **values) + "\n").encode()
