"""The members of a node's settings, as doors: each through the client of a registry. And their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from identity.grants import Grant
from registry_node.metrics import Family, Metrics
from registry_node.registries.upstreams.remote import client_of, is_docker_hub
from registry_node.registries.virtual.care import SIGN_SECONDS, Care
from registry_node.registries.virtual.doors import Door, Port
from registry_node.registries.virtual.nearby import Nearby
from registry_node.registries.virtual.rights import Grants, Rights
from registry_node.registries.virtual.sessions import load_or_create_key
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from registry_node.settings.virtual import Member

CHANGE_SECONDS = 60.0  # a push may wait so long for the disk of its member; reads have their own limit (doors.py)
CONNECTIONS = 256  # to one member: each blob on its way holds one
KEY_FILE = Path("keys") / "uploads.key"  # in the data folder
_STATES = {"closed": 0.0, "half-open": 1.0, "open": 2.0}
Values = Iterable[tuple[tuple[str, ...], float]]


def opened(settings: NodeSettings, own_grants: Grants) -> VirtualRegistry:
    """The registry of a virtual node. ``own_grants``: those of this node, as they are now. Raises OSError, ValueError."""
    virtual = settings.virtual
    assert virtual is not None
    doors = [_door(each, own_grants, virtual.answer_seconds) for each in virtual.members]
    return VirtualRegistry(virtual, doors, node=settings.node, key=load_or_create_key(settings.data / KEY_FILE))


def watch(metrics: Metrics, registry: VirtualRegistry) -> None:
    """What its members were asked over HTTP; what is read by their files is in no figure of theirs."""
    cares = {name: door.care for name, door in registry.doors.items() if door.care is not None}

    def requests() -> Values:
        return [((name, outcome), count) for name, care in cares.items() for outcome, count in care.outcomes.items()]

    def circuits() -> Values:
        return [((name,), _STATES[care.state]) for name, care in cares.items()]

    told = "Requests to members by outcome: answered, no-answer, not-asked"
    metrics.families.append(Family("towpath_member_requests", told, ("member", "outcome"), requests, True))
    told = "0: it is asked, 1: it is asked for a sign of life, 2: it is left alone"
    metrics.families.append(Family("towpath_member_circuit", told, ("member",), circuits, False))


def _door(member: Member, own_grants: Grants, seconds: float) -> Door:
    async def sign() -> bool:
        """On a connection of its own: those of the client may all be waiting."""
        async with client_of(member, answer_seconds=SIGN_SECONDS, connections=1) as asking:
            return await asking.answers()

    care = Care(member.name, sign)
    client = client_of(
        member,
        answer_seconds=max(seconds, CHANGE_SECONDS),
        connections=CONNECTIONS,
        retry=care,
        front=member.kind in ("mirror", "virtual"),
    )
    port: Port = client
    if member.data is not None and member.kind == "local":
        port = Nearby(client, member.name, member.data, member.namespace)
    return Door(
        member.name,
        member.kind,
        port,
        Rights(member.name, _grants(member) or own_grants, member.write),
        seconds,
        f"{member.url}{member.base_path}/v2/{f'{member.namespace}/' if member.namespace else ''}",
        care,
        hides=member.kind == "remote" and (member.credentials is None or is_docker_hub(member)),
        aclose=client.aclose,
    )


def _grants(member: Member) -> Callable[[], tuple[Grant, ...]] | None:
    if member.grants is None:
        return None
    grants = tuple(each.grant() for each in member.grants)
    return lambda: grants
