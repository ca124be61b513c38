"""Sites as loopback addresses: the j-th host of the i-th site is 127.0.<i>.<j>, counted from 1; declared ports stay."""

from __future__ import annotations

from dataclasses import dataclass

from sites.hosts import HostError
from topology.model import Placed, Topology

MOST = 254  # sites, and hosts in one of them: a byte each


@dataclass(frozen=True, slots=True)
class Address:
    """``path``: of a node that shares host and port with others (topology/proxies.py)."""

    host: str
    port: int
    tls: bool = False
    path: str = ""

    @property
    def url(self) -> str:
        """As clients write it: without the port that the scheme means."""
        scheme, usual = ("https", 443) if self.tls else ("http", 80)
        shown = self._host if self.port == usual else f"{self._host}:{self.port}"
        return f"{scheme}://{shown}{f'/{self.path}' if self.path else ''}"

    def __str__(self) -> str:
        return f"{self._host}:{self.port}{f'/{self.path}' if self.path else ''}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def loopback_addresses(topology: Topology) -> dict[str, Address]:
    """Where each node of ours answers on this machine. Raises HostError for too many sites or hosts."""
    hosts: dict[tuple[str, str], str] = {}
    for at, (site, declared) in enumerate(topology.sites.items(), start=1):
        for number, host in enumerate(declared.hosts, start=1):
            if max(at, number) > MOST:
                raise HostError(
                    "too-many-hosts",
                    f"host {host} of site {site} has no loopback address left",
                    why=f"this machine stands in for at most {MOST} sites of {MOST} hosts",
                    next="run fewer sites at once: give up a smaller topology",
                )
            hosts[site, host] = f"127.0.{at}.{number}"
    return {
        name: Address(hosts[node.site, node.host], node.port)
        for name, node in topology.nodes.items()
        if isinstance(node, Placed)
    }
