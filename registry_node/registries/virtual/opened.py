"""The members of a node's settings, as doors: each through the client of a registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from identity.grants import Grant
from registry_node.registries.upstreams.remote import client_of
from registry_node.registries.virtual.doors import Door, Port
from registry_node.registries.virtual.nearby import Nearby
from registry_node.registries.virtual.rights import Grants, Rights
from registry_node.registries.virtual.sessions import load_or_create_key
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from registry_node.settings.virtual import Member

CHANGE_SECONDS = 60.0  # a push may wait so long for the disk of its member; reads have their own limit (doors.py)
KEY_FILE = Path("keys") / "uploads.key"  # in the data folder


def opened(settings: NodeSettings, own_grants: Grants) -> VirtualRegistry:
    """The registry of a virtual node. ``own_grants``: those of this node, as they are now. Raises OSError, ValueError."""
    virtual = settings.virtual
    assert virtual is not None
    doors = [_door(each, own_grants, virtual.answer_seconds) for each in virtual.members]
    return VirtualRegistry(virtual, doors, node=settings.node, key=load_or_create_key(settings.data / KEY_FILE))


def _door(member: Member, own_grants: Grants, seconds: float) -> Door:
    rights = Rights(member.name, _grants(member) or own_grants, member.write)
    client: Port = client_of(member, answer_seconds=max(seconds, CHANGE_SECONDS))
    if member.data is not None and member.kind == "local":
        client = Nearby(client, member.name, member.data, member.namespace)
    names = f"{member.url}{member.base_path}/v2/{f'{member.namespace}/' if member.namespace else ''}"
    return Door(member.name, member.kind, client, rights, seconds, names)


def _grants(member: Member) -> Callable[[], tuple[Grant, ...]] | None:
    if member.grants is None:
        return None
    grants = tuple(each.grant() for each in member.grants)
    return lambda: grants
