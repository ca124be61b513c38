"""The connections of one process: which are open, what each answer says of the server, and how they end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Protocol

from registry_node.answer_lines import lines_of


class Connection(Protocol):
    def shutdown(self) -> None:
        """The server ends: at once when idle, else after the answer that is under way."""


class Connections:
    """``app``: an ASGI application; ``lines``: the header lines that every answer has (Server and Date)."""

    def __init__(self, app: Any, server: str) -> None:
        """``server``: what the Server header says."""
        self.app, self._server = app, server.encode()
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._fewer = asyncio.Event()
        self.tell_time()

    def tell_time(self) -> None:
        """Once a second: the Date of the answers (RFC 9110 section 5.6.7)."""
        now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())  # English: nobody sets another locale
        self.lines = lines_of(((b"date", now.encode()), (b"server", self._server)))

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._fewer.set()

    def answering(self, task: asyncio.Task[None]) -> None:
        """A request that the app answers."""
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._fewer.set()

    async def end(self, seconds: float) -> None:
        """Ends all: idle ones now, the others with their answers, which have so many seconds left."""
        for each in list(self._open):
            each.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._open or self._tasks:
                    self._fewer.clear()
                    await self._fewer.wait()
        for task in list(self._tasks):
            task.cancel()
