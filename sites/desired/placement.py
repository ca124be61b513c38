"""Where every node of a topology stands on its host, and what it is given there beside its settings: the counterpart of
loopback_placement.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry_node.settings import Tls, User
from sites.desired import layout
from sites.desired.certificates import Pair
from sites.desired.inventory import addresses_of
from sites.loopback.placement import Logins
from sites.settings.addresses import Address
from sites.settings.credentials import engine_user, robot_of, robot_user
from sites.settings.fronts import Reach, beside, neighbours_of
from sites.settings.node_grants import readers_of, sources_of
from sites.settings.node_settings import Placement
from topology.model import ExternalNode, MirrorNode, Placed, Topology
from topology.proxies import public_address

TLS_KEY = "tls.key"
ROBOT = "robot"
PROXY = "127.0.0.1/32"  # from where nginx asks the nodes of its host
_EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - a registry is asked from other hosts; grants say by whom


@dataclass(frozen=True, slots=True)
class Secrets:
    """All that nodes are given and that nobody else may see."""

    people: Mapping[str, User]
    engine: str
    robots: Mapping[str, str]  # by mirror or virtual: the token by which it asks our other nodes
    logins: Logins  # at external registries: by who asks, then by whom it asks
    pairs: Mapping[str, Pair]  # by node

    def __repr__(self) -> str:
        return "Secrets(***)"


@dataclass(frozen=True, slots=True)
class Given:
    """One node on its host. ``files``: PEM of public certificates by path; ``credentials``: secrets by name;
    ``proxy_pair``: what the proxy in front of it shows."""

    placement: Placement
    files: Mapping[str, bytes] = field(default_factory=dict)
    credentials: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    proxy_pair: Pair | None = None


def given(topology: Topology, secrets: Secrets, authority: bytes | None) -> dict[str, Given]:
    """By node. ``authority``: the certificate that our nodes' are issued by. Raises OSError for an external node's."""
    addresses = addresses_of(topology)
    return {name: _given(topology, name, addresses, secrets, authority) for name in addresses}


def _given(
    topology: Topology, name: str, addresses: Mapping[str, Address], secrets: Secrets, authority: bytes | None
) -> Given:
    users = {**secrets.people, **engine_user(secrets.engine)}
    users |= {robot_of(each): robot_user(secrets.robots[each]) for each in readers_of(topology, name)}
    behind = public_address(topology, name) is not None
    pair = None if behind else secrets.pairs.get(name)
    tls = Tls(certificate=Path(layout.certificate(name)), key=Path(layout.credential(name, TLS_KEY))) if pair else None
    files, credentials = {}, {}
    if pair:
        files[str(layout.certificate(name))] = pair.certificate
        credentials[TLS_KEY] = pair.key
    if sources_of(topology, name):
        credentials[ROBOT] = f"{robot_of(name)}:{secrets.robots[name]}\n".encode()
        credentials |= {login(each): f"{said}\n".encode() for each, said in secrets.logins.get(name, {}).items()}
    reach, believed = _reach(topology, name, addresses, secrets, authority)
    listening = _behind(topology, name) if behind else _listening(addresses[name])
    placement = Placement(listening, Path(layout.data(name)), users, tls, reach, (PROXY,) if behind else ())
    return Given(placement, {**files, **believed}, credentials, secrets.pairs.get(name) if behind else None)


def login(external: str) -> str:
    return f"login-{external}"


def _behind(topology: Topology, name: str) -> Address:
    """Where a node behind a proxy listens: for that, and for its neighbours."""
    node = topology.nodes[name]
    assert isinstance(node, Placed)
    return Address("127.0.0.1", node.port)


def _listening(address: Address) -> Address:
    """On every address of its host, since the one that others use may be a router's; a loopback one stays as it is."""
    if address.host.startswith("127.") or address.host in ("localhost", "::1"):
        return address
    return Address(_EVERYWHERE[6 if ":" in address.host else 4], address.port, address.tls)


def _reach(
    topology: Topology, front: str, addresses: Mapping[str, Address], secrets: Secrets, authority: bytes | None
) -> tuple[dict[str, Reach], dict[str, bytes]]:
    """How a mirror or virtual gets at its sources, and the certificates that it believes."""
    node = topology.nodes[front]
    assert isinstance(node, Placed)
    found: dict[str, Reach] = {}
    believed: dict[str, bytes] = {}
    for name in (
        *sources_of(topology, front),
        *(neighbours_of(topology, node) if isinstance(node, MirrorNode) else ()),
    ):
        other = topology.nodes[name]
        near = beside(node, other) and public_address(topology, name) is not None
        said = None if near else _authority_of(topology, name, addresses, authority)
        ca = Path(layout.authority(front, name)) if said else None
        if said:
            believed[str(ca)] = said
        if isinstance(other, ExternalNode):
            known = name in secrets.logins.get(front, {})
            found[name] = Reach(login=Path(layout.credential(front, login(name))) if known else None, ca=ca)
        else:
            data = Path(layout.data(name)) if beside(node, other) else None
            shown = Path(layout.credential(front, ROBOT))
            address = _behind(topology, name) if near else addresses[name]
            found[name] = Reach(address.url, shown, ca=ca, data=data)
    return found, believed


def _authority_of(
    topology: Topology, name: str, addresses: Mapping[str, Address], authority: bytes | None
) -> bytes | None:
    other = topology.nodes[name]
    if isinstance(other, ExternalNode):
        return (topology.base / other.ca).read_bytes() if other.ca else None
    given_one = isinstance(other, Placed) and other.tls is not None
    return authority if addresses[name].tls and not given_one else None
