"""One member as a virtual sees it: its port, the caller's rights there, and what its errors mean here.

A not-found is the member's answer; everything else that keeps it from answering is an outage, which is never taken for
one: MemberFailed, 503, with the member's name; MemberRefused, 502, when this node's login is not let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from oci_wire.errors import (
    Denied,
    LoginRefused,
    LoopDetected,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from oci_wire.extension import Extension
from oci_wire.registry import Registry
from registry_node.registries.upstreams.failures import ABSENT, words
from registry_node.registries.virtual.care import Care
from registry_node.registries.virtual.failed import MemberFailed, MemberRefused
from registry_node.registries.virtual.rights import Rights

T = TypeVar("T")


class Port(Registry, Extension, Protocol):
    """What a member is asked through: the client of a node, or any other registry."""


async def _nothing() -> None:
    """Of a member that holds nothing open."""


@dataclass(frozen=True, slots=True)
class Door:
    """``seconds``: how long the first byte of an answer is waited for. ``names``: where its repositories' URLs begin, with
    its namespace, when it is asked over HTTP. ``care``: of its client. ``hides``: it says 401 or 403 of what is not there
    for us, as a registry that is asked without a login. ``aclose``: ends its connections."""

    name: str
    kind: str
    registry: Port
    rights: Rights
    seconds: float = 10.0
    names: str = ""
    care: Care | None = None
    hides: bool = False
    aclose: Callable[[], Awaitable[None]] = _nothing

    async def ask(self, question: Awaitable[T]) -> T:
        """What a read gives. Raises one of ABSENT, RangeInvalid, LoopDetected, MemberFailed."""
        try:
            async with asyncio.timeout(self.seconds):
                return await question
        except (*ABSENT, RangeInvalid, LoopDetected):
            raise
        except TimeoutError as error:
            if self.care is not None:
                await self.care.kept_waiting()
            raise MemberFailed(self.name, f"no answer within {self.seconds:g} seconds") from error
        except RegistryError as error:
            raise self.failure(error) from error

    async def tell(self, change: Awaitable[T]) -> T:
        """What a write gives: what the member refuses, it refuses to the client, in its name. Raises what the port says,
        but MemberFailed for an outage."""
        try:
            return await change
        except (Unavailable, Unauthorized) as error:
            raise self.failure(error) from error
        except Denied as error:
            said = f"member {self.name} refuses it: {error.message}"
            raise type(error)(said, detail=error.detail, why="member") from error

    def failure(self, error: RegistryError) -> RegistryError:
        """In words of ours: what it said may hold addresses, or more than the caller may know."""
        if isinstance(error, MemberFailed):
            return error
        if isinstance(error, Unauthorized | Denied):
            if self.hides and not isinstance(error, LoginRefused):
                return NameUnknown(f"not there for this node at member {self.name}")
            return MemberRefused(
                self.name, "it does not let this node in: its login there is missing, wrong or too narrow"
            )
        return MemberFailed(self.name, words(error)[2], error.retry_after)
