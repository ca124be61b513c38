"""Whoever is asked, asked with care: a circuit, a limit on the connections, and errors in our own words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from oci_wire.errors import (
    Denied,
    DigestInvalid,
    LoginRefused,
    RangeInvalid,
    RegistryError,
    TimedOut,
    Unauthorized,
    UpstreamFailed,
)
from oci_wire.registry import BlobStream
from registry_node.registries.upstreams.circuit import CLOSED, Circuit
from registry_node.registries.upstreams.failures import ABSENT, KEPT_OUT, failure, weighs
from registry_node.registries.upstreams.flow import Flow, Pace

T = TypeVar("T")
log = logging.getLogger(__name__)
QUEUE_SECONDS = 60.0  # in the queue of this node's own requests, for a connection
BODY_SECONDS = 20.0  # for a whole manifest or list, once its first byte has come


@dataclass(slots=True)
class Tally:
    """What came of the questions. ``received``: bytes of blobs; ``last_error``: a reason, "" without one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    received: int = 0
    last_error: str = ""


class Guard:
    """Of one that is called ``name``. ``absent_when_refused``: 401 and 403 mean that it is not there for us, as with
    registries that are asked anonymously; a login that a token service refuses is wrong all the same."""

    def __init__(
        self,
        name: str,
        *,
        answer_seconds: float,
        connections: int = 16,
        absent_when_refused: bool = False,
        bytes_per_second: float | None = None,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tally``: one that several share."""
        self.name, self.tally = name, tally or Tally()
        self._answer_seconds = answer_seconds
        self._absent_when_refused = absent_when_refused
        self._clock = clock
        self._pace = Pace(bytes_per_second)
        self._circuit: Circuit = CLOSED
        self._slots = asyncio.Semaphore(connections)
        self._blob_slots = asyncio.Semaphore(max(1, connections - 1))  # one is left for what is small

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """What it answers, read to its end.

        Raises ManifestUnknown, BlobUnknown, NameUnknown: it has said that it is not there; UpstreamFailed."""
        self._admit()
        async with self._slot(self._slots):
            return await self._asked(question, self._answer_seconds + BODY_SECONDS)

    async def open(self, question: Callable[[], Awaitable[BlobStream]]) -> BlobStream:
        """As ``ask``, once the head has come. The stream holds its connection until it is closed, and raises
        UpstreamFailed as well."""
        self._admit()
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._slot(self._blob_slots))
            await held.enter_async_context(self._slot(self._slots))
            stream = await self._asked(question, self._answer_seconds)
            given_back = held.pop_all()
        flow = Flow(stream.chunks, self._pace, self._count, self._failed, given_back.aclose)
        return BlobStream(stream.descriptor, stream.start, stream.stop, flow)

    def blame(self) -> None:
        """What it sent did not hash to its digest: found by whoever kept it."""
        self._failed(DigestInvalid("wrong bytes"))

    def _admit(self) -> None:
        wait = self._circuit.wait(self._clock())
        if wait > 0:
            raise self._kept_back(self.tally.last_error or "down", "it has failed and is left alone for now", wait)

    def _kept_back(self, reason: str, text: str, wait: float | None) -> UpstreamFailed:
        self.tally.outcomes["not-asked"] += 1
        return UpstreamFailed(f"upstream {self.name}: {text}", upstream=self.name, reason=reason, retry_after=wait)

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await slots.acquire()
        except TimeoutError:
            text = f"upstream {self.name}: all connections to it are taken"
            raise UpstreamFailed(text, upstream=self.name, reason="busy", retry_after=1.0) from None
        try:
            yield
        finally:
            slots.release()

    async def _asked(self, question: Callable[[], Awaitable[T]], seconds: float) -> T:
        self._circuit = self._circuit.asked(self._clock())
        try:
            async with asyncio.timeout(seconds):
                answer = await question()
        except TimeoutError as error:
            raise self._failed(TimedOut("no answer")) from error
        except (*ABSENT, RangeInvalid) as error:
            self._succeeded("absent" if isinstance(error, ABSENT) else "answered")
            raise
        except RegistryError as error:
            raise self._failed(error) from error
        except BaseException:
            self._circuit = self._circuit.left()
            raise
        self._succeeded("answered")
        return answer

    def _succeeded(self, outcome: str) -> None:
        self._circuit = self._circuit.succeeded()
        self.tally.outcomes[outcome] += 1

    def _failed(self, error: RegistryError) -> RegistryError:
        """Counts it; the error to raise in its place."""
        refused = isinstance(error, Unauthorized | Denied) and not isinstance(error, LoginRefused)
        if self._absent_when_refused and refused:
            self._succeeded("absent")
            return ABSENT[0](f"not there for this node at upstream {self.name}")
        failed = failure(self.name, error)
        self.tally.outcomes[failed.reason] += 1
        if failed.reason in KEPT_OUT and failed.reason != self.tally.last_error:
            log.warning("upstream %s does not let this node in: %s", self.name, error)
        self.tally.last_error = failed.reason
        before = self._circuit.until
        if weighs(failed):
            self._circuit = self._circuit.failed(self._clock(), error.retry_after)
        else:
            self._circuit = self._circuit.left()
        if self._circuit.until is not None and before is None:
            log.warning("upstream %s is left alone for %.0f s: %s", self.name, self._circuit.wait(self._clock()), error)
        return failed

    def _count(self, received: int) -> None:
        self.tally.received += received
