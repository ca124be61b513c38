"""Dependency confusion: a name that its owners do not have, or cannot tell about, is asked of nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import Denied, NameUnknown, RegistryError
from oci_wire.registry import Call
from registry_node.registries.virtual.virtual import VirtualRegistry
from tests.contract.content import image, push, push_blob
from tests.registry_node.registries.virtual.conftest import DEV, Members

LAYER = Digest.of(b"layer")
Ask = Callable[[VirtualRegistry], Awaitable[Any]]
ASKED: dict[str, Ask] = {
    "head": lambda registry: registry.resolve(DEV, "apps/api", "1.0"),
    "get": lambda registry: registry.get_manifest(DEV, "apps/api", "1.0"),
    "digest": lambda registry: registry.get_manifest(DEV, "apps/api", str(LAYER)),
    "blob": lambda registry: registry.open_blob(DEV, "apps/api", LAYER),
    "blob-head": lambda registry: registry.stat_blob(DEV, "apps/api", LAYER),
    "tags": lambda registry: registry.tags(DEV, "apps/api"),
    "referrers": lambda registry: registry.referrers(DEV, "apps/api", LAYER),
    "why": lambda registry: registry.why(DEV, "apps/api", "1.0"),
    "mount": lambda registry: registry.mount_blob(DEV, "apps/mine", LAYER, "apps/api"),
    "put": lambda registry: registry.put_manifest(DEV, "apps/api", image(), tags=["1.0"]),
    "delete": lambda registry: registry.delete_tag(DEV, "apps/api", "1.0"),
    "reached": lambda registry: registry.reached(DEV, "apps/api", LAYER, bool),
}


async def company(**settings: Any) -> tuple[Members, VirtualRegistry]:
    """``hub`` has images under the company's own names, as an attacker would put them there."""
    members = Members("inside", "hub", hub="remote")
    await push(members["hub"], "apps/api", b"layer", tags=["1.0", "99.0"])
    await push(members["hub"], "library/debian", b"layer", tags=["12"])
    owns = [{"repositories": "apps/**", "members": ["inside"]}]
    virtual = members.virtual(**{"owns": owns, "unmatched": "members", "push_to": "inside", **settings})
    members.forget()
    return members, virtual


@pytest.mark.attack("A-dependency-confusion")
@pytest.mark.parametrize("resolve", ["order", "newest"])
@pytest.mark.parametrize("down", [False, True], ids=["absent", "outage"])
@pytest.mark.parametrize("name", ASKED)
async def test_an_owned_prefix_asks_its_owner_alone(name: str, down: bool, resolve: str) -> None:
    members, virtual = await company(resolve=resolve)
    if down:
        members["inside"].down()
    with suppress(RegistryError):
        await ASKED[name](virtual)
    assert "hub" not in members.asked, members["hub"].asked


@pytest.mark.attack("A-dependency-confusion")
async def test_what_an_attacker_lists_under_our_names_is_not_listed() -> None:
    members, virtual = await company()
    assert (await virtual.repositories(DEV)).items == ("library/debian",)
    await push(members["inside"], "apps/api", b"ours", tags=["1.0"])
    assert (await virtual.repositories(DEV)).items == ("apps/api", "library/debian")
    assert (await virtual.tags(DEV, "apps/api")).items == ("1.0",)


@pytest.mark.attack("A-dependency-confusion")
async def test_a_name_that_nobody_owns_looks_absent_and_the_log_says_why() -> None:
    members, virtual = await company(unmatched="deny")
    with pytest.raises(NameUnknown) as caught:
        await virtual.resolve(DEV, "library/debian", "12")
    assert caught.value.why == "unmatched"
    assert members.asked == set()
    with pytest.raises(Denied, match="unmatched: deny"):
        await virtual.start_upload(DEV, "library/debian")


async def test_blobs_found_elsewhere_come_along_with_a_push() -> None:
    """A client that heard from a HEAD that the base layer is here does not send it."""
    members, virtual = await company()
    call = Call("dev")
    await push_blob(virtual, "library/debian", b"top")  # type: ignore[arg-type]
    await push_blob(virtual, "library/debian", b"{}")  # type: ignore[arg-type]
    assert (await virtual.stat_blob(call, "library/debian", LAYER)).size == 5
    await virtual.put_manifest(call, "library/debian", image(b"layer", b"top"), tags=["ours"])
    assert await (await members["inside"].inner.open_blob(call, "library/debian", LAYER)).read() == b"layer"
    assert call.notes["x-towpath-member"] == "inside"
