"""A member over HTTP, left alone while nobody answers there: a circuit (upstreams/circuit.py) over time, not over errors.

What fails at once keeps nobody waiting, and is asked again each time: a member that was restarted is back with the next
request. And a slow answer says little of a member that asks others itself: a mirror gives what it has while its upstream
hangs. So whoever waited in vain asks for any sign of life; without one the member is left alone for some seconds, and then
asked for a sign of life again, before anybody's question.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from oci_wire.errors import RegistryError, Unreachable
from registry_node.registries.upstreams.circuit import CLOSED
from registry_node.registries.virtual.failed import MemberFailed

T = TypeVar("T")
log = logging.getLogger(__name__)
QUICK_SECONDS = 1.0  # a failure that took longer kept somebody waiting
SIGN_SECONDS = 2.0  # in which a member that is up says something


class Care:
    """Satisfies ``Retry`` of the member's client (oci_wire/client/attempts.py), without second attempts. ``sign``: whether
    anybody answers there. ``outcomes`` of requests: answered (whatever it said), no-answer, not-asked."""

    def __init__(
        self, member: str, sign: Callable[[], Awaitable[bool]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._member, self._sign, self._clock = member, sign, clock
        self._circuit = CLOSED
        self.outcomes: Counter[str] = Counter()

    async def __call__(self, attempt: Callable[[], Awaitable[T]], /) -> T:
        """Raises MemberFailed at once while it is left alone."""
        await self._admit()
        began = self._clock()
        try:
            answer = await attempt()
        except Unreachable:
            self.outcomes["no-answer"] += 1
            if self._clock() - began >= QUICK_SECONDS:
                await self._look()
            raise
        except RegistryError:
            self._answered()
            raise
        self._answered()
        return answer

    async def kept_waiting(self) -> None:
        """Somebody stopped waiting for an answer."""
        self.outcomes["no-answer"] += 1
        await self._look()

    @property
    def state(self) -> str:
        """closed, open or half-open."""
        return self._circuit.state(self._clock())

    def _answered(self) -> None:
        self.outcomes["answered"] += 1
        self._circuit = CLOSED

    async def _admit(self) -> None:
        now = self._clock()
        if self._circuit.state(now) == "half-open" and not self._circuit.wait(now):
            self._circuit = self._circuit.asked(now)  # the others are refused meanwhile
            await self._look()
        if wait := self._circuit.wait(self._clock()):
            self.outcomes["not-asked"] += 1
            raise MemberFailed(self._member, "it answers nobody, and is left alone for now", wait)

    async def _look(self) -> None:
        """Asks for a sign of life, unless it is known that there is none."""
        if self.state == "open":
            return
        try:
            async with asyncio.timeout(SIGN_SECONDS):
                alive = await self._sign()
        except TimeoutError:
            alive = False
        except BaseException:
            self._circuit = self._circuit.left()
            raise
        if not alive and self._circuit is CLOSED:
            log.warning("member %s answers nobody: it is left alone for now", self._member)
        self._circuit = CLOSED if alive else CLOSED.failed(self._clock(), 0.0)
