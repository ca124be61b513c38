"""One member as a virtual sees it: its port, the caller's rights there, and what its errors mean here.

A not-found is the member's answer; everything else that keeps it from answering is an outage, which is never taken for
one: MemberFailed, 503, with the member's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from oci_wire.errors import (
    LoopDetected,
    RangeInvalid,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from oci_wire.extension import Extension
from oci_wire.registry import Registry
from registry_node.registries.upstreams.failures import ABSENT, words
from registry_node.registries.virtual.rights import Rights

T = TypeVar("T")
_RETRY_SECONDS = 5.0


class MemberFailed(Unavailable):
    """503: a member could not say whether it has what was asked for. ``detail``: {"member", "reason"}."""

    def __init__(self, member: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(
            f"member {member} could not answer: {reason}",
            detail={"member": member, "reason": reason},
            retry_after=retry_after or _RETRY_SECONDS,
        )
        self.member, self.reason = member, reason


class Port(Registry, Extension, Protocol):
    """What a member is asked through: the client of a node, or any other registry."""


@dataclass(frozen=True, slots=True)
class Door:
    """``seconds``: how long the first byte of an answer is waited for. ``names``: where its repositories' URLs begin, with
    its namespace, when it is asked over HTTP."""

    name: str
    kind: str
    registry: Port
    rights: Rights
    seconds: float = 10.0
    names: str = ""

    async def ask(self, question: Awaitable[T]) -> T:
        """What a read gives. Raises one of ABSENT, RangeInvalid, LoopDetected, MemberFailed."""
        with self.meaning():
            async with asyncio.timeout(self.seconds):
                return await question

    async def tell(self, change: Awaitable[T]) -> T:
        """What a write gives: what the member refuses, it refuses to the client. Raises what the port says, but
        MemberFailed for an outage."""
        try:
            return await change
        except (Unavailable, Unauthorized) as error:
            raise self.failure(error) from error

    @contextmanager
    def meaning(self) -> Iterator[None]:
        """What goes wrong inside, as a virtual means it."""
        try:
            yield
        except (*ABSENT, RangeInvalid, LoopDetected, MemberFailed):
            raise
        except TimeoutError as error:
            raise MemberFailed(self.name, f"no answer within {self.seconds:g} seconds") from error
        except RegistryError as error:
            raise self.failure(error) from error

    def failure(self, error: RegistryError) -> MemberFailed:
        """In words of ours: what it said may hold addresses, or more than the caller may know."""
        if isinstance(error, MemberFailed):
            return error
        return MemberFailed(self.name, words(error)[2], error.retry_after)
