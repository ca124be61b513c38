"""Holding digests at a target while they arrive: nothing shows them yet, and a collection must not take them.

A hold is renewed while its owner lives, dropped at the end, and ends by itself when the owner was killed.
Where the extension is not spoken there is nothing to hold with; copying then is as safe as that registry makes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from oci_wire.errors import RegistryError
from oci_wire.extension import MAX_HELD_DIGESTS, Hold
from oci_wire.registry import Call
from promotions.place import Place
from promotions.retry import RetryPolicy

LOG = logging.getLogger("towpath.hold")
TERM_SECONDS = 3600.0  # long, since it is measured with the node's clock, and ours may be minutes away from that
RENEW_SECONDS = 300.0


@dataclass(slots=True)
class Holding:
    """``async with Holding(...) as hold``, then ``await hold.add(digests)``. ``owner`` names it for ever, so that a
    resumed run takes its own hold over."""

    place: Place
    retry: RetryPolicy
    call: Call
    owner: str
    reason: str
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _digests: dict[str, None] = field(default_factory=dict)
    _parts: int = 0
    _renewing: asyncio.Task[None] | None = None

    async def add(self, digests: Iterable[str]) -> None:
        """Holds these too. Raises RegistryError."""
        fresh = [each for each in digests if each not in self._digests]
        if not fresh or not await self._speaks():
            return
        self._digests |= dict.fromkeys(fresh)
        await self._put()
        self._renewing = self._renewing or asyncio.create_task(self._renew())

    async def _speaks(self) -> bool:
        features = await self.place.registry.features(self.call)
        return features is not None and "holds" in features.features

    async def _put(self) -> None:
        digests, until = tuple(self._digests), self.clock() + TERM_SECONDS
        for part, at in enumerate(range(0, len(digests), MAX_HELD_DIGESTS)):
            hold = Hold(digests=digests[at : at + MAX_HELD_DIGESTS], until=until, reason=self.reason[:500])
            self._parts = max(self._parts, part + 1)
            await self.retry(lambda part=part, hold=hold: self._put_part(part, hold))  # type: ignore[misc]

    async def _put_part(self, part: int, hold: Hold) -> None:
        await self.place.registry.put_hold(self.call, self.place.repository, self._name(part), hold)

    def _name(self, part: int) -> str:
        return f"{self.owner}.{part}"

    async def _renew(self) -> None:
        while True:
            await self.sleep(RENEW_SECONDS)
            try:
                await self._put()
            except RegistryError as error:
                LOG.warning("%s: the hold of %s was not renewed: %s", self.place, self.owner, error.message)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        for part in range(self._parts):
            try:
                await self.place.registry.drop_hold(self.call, self.place.repository, self._name(part))
            except RegistryError as problem:  # it ends by itself
                LOG.info("%s: the hold of %s was not dropped: %s", self.place, self.owner, problem.message)
