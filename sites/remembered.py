"""The hosts of the last apply, as the state folder remembers them: who leaves the topology is known by them.

A host's own inventory says more; but which hosts to ask is known here alone. Protection is remembered in both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, FiniteFloat, RootModel, ValidationError

from sites.desired.hosts import DesiredHost
from sites.desired.inventory import Target
from sites.hosts import HostError
from sites.state import StateFolder, write_json


class RememberedNode(BaseModel):
    """``url``: "" once its machine has moved. ``protected``: by what in the topology, ``node`` or ``scope``."""

    model_config = ConfigDict(frozen=True)
    url: str
    protected: tuple[str, ...] = ()


class RememberedHost(BaseModel):
    """``trash``: what its nodes left there, and until when it is kept (seconds since the epoch)."""

    model_config = ConfigDict(frozen=True)
    site: str
    address: str
    port: int
    user: str = ""
    host_key: str = ""
    machine: str = ""  # which one it was; "": not known
    nodes: dict[str, RememberedNode] = {}
    trash: dict[str, FiniteFloat] = {}

    def rests(self, now: datetime) -> bool:
        """Whether it holds trash alone, all of whose terms still run: until then there is nothing to do there."""
        return not self.nodes and bool(self.trash) and min(self.trash.values()) > now.timestamp()

    def target(self, name: str) -> Target:
        return Target(name, self.site, self.address, self.port, self.user, self.host_key)


class _Hosts(RootModel[dict[str, RememberedHost]]):
    pass


def read_hosts(state: StateFolder) -> dict[str, RememberedHost]:
    """By name; empty before the first apply. Raises HostError when the file is not what was written."""
    if not state.hosts.is_file():
        return {}
    try:
        return _Hosts.model_validate_json(state.hosts.read_bytes()).root
    except (OSError, ValidationError) as error:
        raise HostError(
            "state-unreadable",
            f"{state.hosts} cannot be read: {str(error).splitlines()[0]}",
            why="hosts and nodes that left the topology, and what is protected, are known by it",
            next="restore the file from a copy; without one, remove it: hosts that left are then no longer asked",
        ) from None


def write_hosts(state: StateFolder, hosts: Mapping[str, RememberedHost]) -> None:
    write_json(state.hosts, {name: each.model_dump(mode="json") for name, each in hosts.items()})


def as_applied(host: DesiredHost, urls: Mapping[str, str], trash: Mapping[str, float]) -> RememberedHost:
    """A host of the topology, as it is remembered from now on."""
    target = host.target
    nodes = {each.name: RememberedNode(url=urls[each.name], protected=each.protected) for each in host.nodes}
    place = {"address": target.address, "port": target.port, "user": target.user, "host_key": target.host_key}
    place["machine"] = host.machine
    return RememberedHost(site=target.site, nodes=nodes, trash=dict(trash), **place)


def with_leaving(now: RememberedHost, before: RememberedHost | None, leaving: Collection[str]) -> RememberedHost:
    """``now``, and what is known of nodes that have not left it yet."""
    known = {name: each for name, each in before.nodes.items() if name in leaving} if before else {}
    return now.model_copy(update={"nodes": {**known, **now.nodes}})
