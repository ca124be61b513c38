"""What a handler gets: the request, where it goes, who asks, and the registry to ask."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from identity.grants import Action
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, RegistryError, RequestInvalid
from oci_wire.manifest import MAX_BYTES
from oci_wire.registry import Call
from oci_wire.routes import Route
from registry_node.access import Caller
from registry_node.messages import Request, Response
from registry_node.outside import Outside
from registry_node.registries.through import Whole

MAX_PAGE = 10_000  # names in one answer, however many are asked for


@dataclass(frozen=True, slots=True)
class Node:
    """What all requests of one node share."""

    name: str
    registry: Whole
    manifest_bytes: int = MAX_BYTES  # the largest manifest that is taken
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    mark: str = field(default_factory=partial(secrets.token_hex, 8))  # in VIA; new with each start, and no name


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way through a handler."""

    node: Node
    request: Request
    route: Route
    caller: Caller
    call: Call

    @property
    def registry(self) -> Whole:
        return self.node.registry

    @property
    def outside(self) -> Outside:
        return self.request.outside

    async def may_pull_digest(self, repository: str, digest: Digest) -> bool:
        """Whether the caller may pull these bytes from there. A grant for some tags is one for what they reach, and is
        asked of the index: work that grows with the repository (storage/reachability.py)."""
        caller = self.caller
        if caller.may_pull_any_digest(repository):
            return True
        if not caller.may_pull(repository):
            return False
        wanted = partial(caller.may_pull, repository)
        return await self.registry.reached(self.call, repository, digest, wanted)

    async def require_pull_digest(self, digest: Digest, absent: type[RegistryError]) -> None:
        """Raises Challenged, NameUnknown, or ``absent``: a digest that is not theirs looks like one that is not here."""
        repository = self.route.repository
        self.caller.require_pull(repository)
        if not await self.may_pull_digest(repository, digest):
            raise absent(f"{repository} has no {digest} that you may pull", why="no-grant")

    async def require_promote_digest(self, digest: Digest) -> None:
        """The same for those whose grant to promote names tags. Raises ManifestUnknown."""
        caller, repository = self.caller, self.route.repository
        if not caller.policy.may_whole(caller.who, Action.PROMOTE, repository):
            wanted = partial(caller.may_promote, repository)
            if not await self.registry.reached(self.call, repository, digest, wanted):
                raise ManifestUnknown(f"{repository} has no {digest} that you may promote", why="no-grant")

    def limit(self) -> int:
        """The ``n`` of a listing, at most MAX_PAGE (CVE-2023-2253). Raises RequestInvalid."""
        text = self.route.get("n")
        if text is None:
            return MAX_PAGE
        if not (text.isascii() and text.isdigit()):
            raise RequestInvalid("n must be a whole number, zero or more")
        return min(int(text[:9]), MAX_PAGE)


Handler = Callable[[Exchange], Awaitable[Response]]
