"""The hosts of a topology that are reached over SSH: where, as whom, and by which key they are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sites.hosts import HostError, HostErrors
from sites.settings.addresses import Address
from topology.model import Host, Placed, Topology
from topology.proxies import public_address

_ORDER = ("local", "mirror", "virtual")
SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class Target:
    """One host. ``user`` "": the one that ssh would take. ``host_key``: as the topology pins it, "" when it does not."""

    name: str
    site: str
    address: str
    port: int
    user: str = ""
    host_key: str = ""
    nodes: tuple[str, ...] = ()  # in the order of their start: what is asked first, then who asks

    @property
    def known_as(self) -> str:
        """The host as known_hosts files write it (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
        return self.address if self.port == SSH_PORT else f"[{self.address}]:{self.port}"


def targets_of(topology: Topology) -> dict[str, Target]:
    """By name, in the order of the file; hosts without nodes are left out. Raises HostErrors: hosts that cannot be
    told apart, and nodes on hosts without ``ssh``."""
    errors: list[HostError] = []
    found: dict[str, Target] = {}
    for site, name, host, nodes in _hosts(topology):
        if host.ssh is None:
            errors.append(_no_way(site, name, nodes))
        elif name in found:
            errors.append(_twice(site, name, found[name].site))
        else:
            user, address, port = parsed(host.ssh)
            found[name] = Target(name, site, address, port, user, host.host_key or "", nodes)
    if errors:
        raise HostErrors(errors)
    return found


def deployed_to_hosts(topology: Topology) -> bool:
    """Whether any host is reached over SSH, so that ``apply`` is meant."""
    return any(host.ssh for site in topology.sites.values() for host in site.hosts.values())


def addresses_of(topology: Topology) -> dict[str, Address]:
    """Where clients reach each node of ours: on its host, or at the proxy in front of it."""
    return {name: _address(topology, name, node) for name, node in topology.nodes.items() if isinstance(node, Placed)}


def _address(topology: Topology, name: str, node: Placed) -> Address:
    host, tls = topology.sites[node.site].hosts[node.host], bool(node.tls or topology.tls)
    if public := public_address(topology, name):
        return Address(public.host, public.port, tls, public.path)
    return Address(host.reached_at or "127.0.0.1", node.port, tls)


def parsed(ssh: str) -> tuple[str, str, int]:
    """User ("" when none is written), address and port of ``deploy@10.1.0.11:22`` or ``[fd00::1]:22``."""
    user, _, rest = ssh.rpartition("@")
    if rest.startswith("["):
        address, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    else:
        address, _, port = rest.partition(":")
    return user, address, int(port or SSH_PORT)


def known_hosts(targets: dict[str, Target], file: Path) -> str:
    """What a connection is checked against: the topology's pins; for other hosts what ``file`` says."""
    pinned = [f"{each.known_as} {each.host_key}\n" for each in targets.values() if each.host_key]
    taken = {each.known_as for each in targets.values() if each.host_key}
    kept = file.read_text().splitlines(keepends=True) if file.is_file() else []
    others = [line for line in kept if not taken & set(line.partition(" ")[0].split(","))]
    return "".join([*pinned, *others])


def _hosts(topology: Topology) -> Iterator[tuple[str, str, Host, tuple[str, ...]]]:
    for site, declared in topology.sites.items():
        for name, host in declared.hosts.items():
            placed = [
                each
                for each, node in topology.nodes.items()
                if isinstance(node, Placed) and (node.site, node.host) == (site, name)
            ]
            if placed:
                yield site, name, host, tuple(sorted(placed, key=lambda each: _ORDER.index(topology.nodes[each].kind)))


def _no_way(site: str, name: str, nodes: tuple[str, ...]) -> HostError:
    return HostError(
        "host-without-ssh",
        f"host {name} has nodes ({', '.join(nodes)}) and no `ssh`",
        where=f"sites.{site}.hosts.{name}",
        why="apply brings nodes to hosts over SSH; it runs nothing on this machine",
        next="give it `ssh: user@address`, or run the whole topology here with towpath up",
    )


def _twice(site: str, name: str, first: str) -> HostError:
    return HostError(
        "host-name-twice",
        f"two hosts are called {name}: one in site {first}, one in {site}",
        where=f"sites.{site}.hosts.{name}",
        why="plans, locks and messages name a host by its name alone",
        next="rename one of them",
    )
