"""What a handler gets: the request, where it goes, who asks, and the registry to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from oci_wire.errors import RequestInvalid
from oci_wire.manifest import MAX_BYTES
from oci_wire.registry import Call
from oci_wire.routes import Route
from registry_node.access import Caller
from registry_node.messages import Request, Response
from registry_node.registries.through import Whole

MAX_PAGE = 10_000  # names in one answer, however many are asked for


@dataclass(frozen=True, slots=True)
class Node:
    """What all requests of one node share."""

    name: str
    registry: Whole
    manifest_bytes: int = MAX_BYTES  # the largest manifest that is taken
    challenges: bool = True  # whether a caller without credentials is asked for some at /v2/
    draining: asyncio.Event = field(default_factory=asyncio.Event)


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

    def limit(self) -> int:
        """The ``n`` of a listing, at most MAX_PAGE (CVE-2023-2253). Raises RequestInvalid."""
        text = self.route.get("n")
        if text is None:
            return MAX_PAGE
        if not (text.isascii() and text.isdigit()):
            raise RequestInvalid("n must be a whole number, zero or more")
        return min(int(text[:9]), MAX_PAGE)


Handler = Callable[[Exchange], Awaitable[Response]]
