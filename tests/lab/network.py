"""The box's network: a namespace with a bridge for each site, one for each host, and the operator's, which is the box's own.

host eth0 --- veth --- site (bridge lan0 .1, routes) --- wan0 (TUN) --- wan.py --- wan-operator (TUN) --- operator
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.lab.places import HOSTS, NETWORKS, NETWORKS6, OPERATOR, OPERATOR_ADDRESS, OPERATOR_ADDRESS6, LabHost

MTU = 1500


def ip(arguments: str) -> None:
    """One ``ip`` command; raises CalledProcessError, whose text says what ip said."""
    run(["ip", *arguments.split()])


def run(argv: list[str]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")


class Network:
    """All of it; ``orders`` to the WAN go through ``order``."""

    def __init__(self, log: IO[bytes]) -> None:
        ip("link set lo up")
        self._wan = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.wan", *NETWORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self._answer("ready")
        for site in NETWORKS:
            self._operator() if site == OPERATOR else self._site(site)

    def _answer(self, expected: str) -> None:
        assert self._wan.stdout is not None
        said = self._wan.stdout.readline().decode().strip()
        if said != expected:
            raise RuntimeError(f"the WAN said {said!r} instead of {expected!r}; see wan.log")

    def order(self, **order: object) -> None:
        """Changes one direction of a line; see wan.Line. Returns when it is so."""
        assert self._wan.stdin is not None
        self._wan.stdin.write(json.dumps(order).encode() + b"\n")
        self._wan.stdin.flush()
        self._answer("done")

    def _operator(self) -> None:
        ip(f"addr add {OPERATOR_ADDRESS}/32 dev wan-{OPERATOR}")
        ip(f"link set wan-{OPERATOR} mtu {MTU} txqueuelen 5000 up")
        ip(f"route add 10.0.0.0/8 dev wan-{OPERATOR} src {OPERATOR_ADDRESS}")
        ip(f"addr add {OPERATOR_ADDRESS6}/128 dev wan-{OPERATOR} nodad")
        ip(f"route add fd00::/16 dev wan-{OPERATOR} src {OPERATOR_ADDRESS6}")

    def _site(self, site: str) -> None:
        ip(f"netns add {site}")
        ip(f"link set wan-{site} netns {site} name wan0")
        ip(f"-n {site} link set lo up")
        ip(f"-n {site} link add lan0 type bridge")
        ip(f"-n {site} addr add {NETWORKS[site]}.1.1/24 dev lan0")
        ip(f"-n {site} addr add {NETWORKS6[site]}::1/64 dev lan0 nodad")
        ip(f"-n {site} link set lan0 up")
        ip(f"-n {site} link set wan0 mtu {MTU} txqueuelen 5000 up")
        ip(f"-n {site} route add 10.0.0.0/8 dev wan0")
        ip(f"-n {site} route add fd00::/16 dev wan0")
        for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            run(["ip", "netns", "exec", site, "sh", "-c", f"echo 1 > /proc/sys/net/{each}"])

    def plug_in(self, host: LabHost) -> None:
        """A network namespace for a host that starts, with its address and its way out."""
        ip(f"netns add {host.name}")
        ip(f"-n {host.site} link add {host.name} type veth peer name eth0 netns {host.name}")
        ip(f"-n {host.site} link set {host.name} master lan0 up")
        ip(f"-n {host.name} link set lo up")
        ip(f"-n {host.name} addr add {host.address}/24 dev eth0")
        ip(f"-n {host.name} addr add {host.address6}/64 dev eth0 nodad")
        ip(f"-n {host.name} link set eth0 address {host.hardware} up")
        ip(f"-n {host.name} route add default via {host.router}")
        ip(f"-n {host.name} route add default via {host.router6}")

    def take_away(self, host: LabHost) -> None:
        """The host's namespace with all in it; its neighbours find nobody at its address. Once is enough."""
        if Path("/run/netns", host.name).exists():
            subprocess.run(["ip", "-n", host.site, "link", "del", host.name], capture_output=True, check=False)
            ip(f"netns del {host.name}")

    def carrier(self, host: LabHost, up: bool) -> None:
        """The cable between a host and its site's switch."""
        if Path("/run/netns", host.name).exists():
            ip(f"-n {host.site} link set {host.name} {'up' if up else 'down'}")


def names() -> str:
    """The hosts by name, as /etc/hosts has them."""
    return "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in HOSTS.values())
