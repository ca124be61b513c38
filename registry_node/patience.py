"""How long a client may keep one connection waiting: for a request, for its head, its body, or to take its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from registry_node.settings import Limits


class Patience:
    """One lazy timer for a connection: one for each request would cost more than the answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, over: Callable[[], None]) -> None:
        """``over`` is called when the client has kept us waiting for too long, then the timer goes on."""
        self._loop, self._limits, self._over = loop, limits, over
        self._deadline: float | None = loop.time() + limits.idle_seconds
        self._hungry, self._came = False, 0
        self._blocked: float | None = None  # until when it may take nothing of what waits for it
        shortest = min(limits.head_seconds, limits.idle_seconds, limits.body_seconds, limits.answer_seconds)
        self._tick_seconds = max(shortest / 4, 0.01)
        self._timer = loop.call_later(self._tick_seconds, self._tick)

    def idle(self) -> None:
        """No request is under way."""
        self._hungry = False
        self._deadline = self._loop.time() + self._limits.idle_seconds

    def head(self) -> None:
        """A head has begun."""
        self._deadline = self._loop.time() + self._limits.head_seconds

    def ours(self) -> None:
        """It is our turn."""
        self._hungry, self._deadline = False, None

    def body(self, *, hungry: bool) -> None:
        """A request is being answered; ``hungry``: it waits for its body."""
        if hungry and not self._hungry:
            self._came = 0
            self._deadline = self._loop.time() + self._limits.body_seconds
        elif not hungry:
            self._deadline = None
        self._hungry = hungry

    def came(self, count: int) -> None:
        """So many bytes of a body."""
        self._came += count
        if self._came >= self._limits.body_bytes:
            self._hungry = False  # the time begins anew when more is waited for

    def writing(self, *, blocked: bool) -> None:
        """Whether more of an answer waits than the client takes. Whoever takes a little now and then is blocked all the
        time: the buffers of kernel and transport must get emptier by some 200 KiB."""
        self._blocked = self._loop.time() + self._limits.answer_seconds if blocked else None

    def stop(self) -> None:
        self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)
        now = self._loop.time()
        if any(each is not None and now >= each for each in (self._deadline, self._blocked)):
            self._deadline = self._blocked = None
            self._over()
