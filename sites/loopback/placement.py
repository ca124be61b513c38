"""Where every node of a topology stands on this machine, and the logins by which mirrors and virtuals ask the others.

The order is that of the start: what is asked first, then who asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from registry_node.settings import User
from sites.hosts import HostError, HostErrors
from sites.settings.addresses import Address, loopback_addresses
from sites.settings.credentials import engine_user, login_of, robot_of, robot_user
from sites.settings.fronts import Reach, beside, neighbours_of
from sites.settings.node_grants import readers_of, sources_of
from sites.settings.node_settings import Placement
from sites.state import StateFolder, write_private
from topology.model import ExternalNode, MirrorNode, Placed, Topology

_ORDER = ("local", "mirror", "virtual")
Logins = Mapping[str, Mapping[str, str]]


def placements(
    topology: Topology, state: StateFolder, people: Mapping[str, User], logins: Logins
) -> dict[str, Placement]:
    """By node, in the order of the start. Lays logins down in the state folder. Raises HostError."""
    addresses = loopback_addresses(topology)
    fronts = [name for name in addresses if sources_of(topology, name)]
    robots = {front: robot_user(robot_token(state, front)) for front in fronts}
    for front in fronts:
        _lay_down(state, front, logins)
    ours: dict[str, User] = {**people, **engine_user(state.engine_token())}
    return {
        name: Placement(
            addresses[name],
            state.data(name),
            {**ours, **{robot_of(each): robots[each] for each in readers_of(topology, name)}},
            reach=_reach(topology, state, name, addresses, logins),
        )
        for name in sorted(addresses, key=lambda each: _ORDER.index(topology.nodes[each].kind))
    }


def logins_of(topology: Topology) -> Logins:
    """At external registries: by who asks, then by whom it asks. Raises HostErrors: all that are missing or unusable."""
    found: dict[str, dict[str, str]] = {}
    errors: list[HostError] = []
    for external in topology.nodes:
        try:
            login = login_of(topology, external)
        except HostError as error:
            errors.append(error)
            continue
        for front in readers_of(topology, external) if login else ():
            found.setdefault(front, {})[external] = login or ""
    if errors:
        raise HostErrors(errors)
    return found


def _lay_down(state: StateFolder, front: str, logins: Logins) -> None:
    """Those that it needs, and no others. A file that says the same is left as it is."""
    folder = state.login(front, "any").parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = logins.get(front, {})
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    for external, login in wanted.items():
        path = state.login(front, external)
        if not path.is_file() or path.read_text() != f"{login}\n":
            write_private(path, f"{login}\n".encode())


def robot_token(state: StateFolder, front: str) -> str:
    """The secret of the front's own robot; made when it is missing. An empty one would let everybody in."""
    path = state.robot(front)
    if path.is_file() and (kept := path.read_text().strip().partition(":")[2]):
        return kept
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    write_private(path, f"{robot_of(front)}:{token}\n".encode())
    return token


def _reach(
    topology: Topology, state: StateFolder, front: str, addresses: Mapping[str, Address], logins: Logins
) -> dict[str, Reach]:
    node = topology.nodes[front]
    assert isinstance(node, Placed)
    found: dict[str, Reach] = {}
    for name in (
        *sources_of(topology, front),
        *(neighbours_of(topology, node) if isinstance(node, MirrorNode) else ()),
    ):
        other = topology.nodes[name]
        if isinstance(other, ExternalNode):
            login = state.login(front, name) if name in logins.get(front, {}) else None
            found[name] = Reach(login=login, ca=(topology.base / other.ca).resolve() if other.ca else None)
        else:
            data = state.data(name) if beside(node, other) else None
            found[name] = Reach(addresses[name].url, state.robot(front), data=data)
    return found
